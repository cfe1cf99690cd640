"""The log of the time to a verified answer: log p − ε log T, with an elasticity ε that has no unit.

Repeated sampling with a verifier reaches its first verified answer after an expected time E[T] / p. Its logarithm
estimates Levin's Kt complexity, and halving it is one bit of speed-up (Achille & Soatto, arXiv 2510.12066). ε = 1 is
the exchange rate of a sampler with a verifier; a model that answers once wants less: a saving from T to rT pays for
itself while accuracy falls by less than the factor r^ε.
"""

import torch
from torch import Tensor


def levin(
    correct: Tensor,
    cost: Tensor,
    *,
    time_elasticity: float | Tensor = 0.05,
    weighting: str = "success",
    time: str = "log",
    time_on: str = "all",
) -> Tensor:
    """Advantages for J = log p − ε log T; zero-mean over the valid completions of each prompt.

    With p the solve rate of the prompt and overlines for means over its valid completions:

        weighting="exact"     (c − p)/p − ε · t     the gradient of J; its first term is MaxRL (arXiv 2602.02710)
        weighting="success"   (c − p) − ε · p · t   the same times p, bounded when a prompt is rarely solved
        time="log"            t = log T − mean log T    concave in a mixture of styles
        time="mean"           t = (T − T̄)/T̄            the gradient of log E[T]
        time_on="correct"     t = c · (log T − mean of log T over the correct)/p; no wrong answer is preferred to
                              another by its length; likewise with "mean"

    A prompt without a correct completion gives 0: it says nothing about time to a verified answer. The elasticity may
    be a tensor that broadcasts against (num_prompts, num_generations): one for each prompt.
    Raises ValueError for an unknown form or a negative elasticity.

    >>> levin(torch.tensor([[1.0, 1.0]]), torch.tensor([[10.0, 20.0]]), time_elasticity=0.1)
    tensor([[ 0.0347, -0.0347]])
    """
    for name, value, known in (
        ("weighting", weighting, ("exact", "success")),
        ("time", time, ("log", "mean")),
        ("time_on", time_on, ("all", "correct")),
    ):
        if value not in known:
            raise ValueError(f"levin: {name}={value!r} is not one of {', '.join(known)}")
    if (torch.as_tensor(time_elasticity) < 0).any():
        raise ValueError(f"levin: time_elasticity={time_elasticity} must be at least 0")

    valid = ~torch.isnan(correct)
    p = torch.nanmean(correct, dim=1, keepdim=True)
    solved = p > 0
    safe_p = torch.where(solved, p, 1.0)

    weight = correct if time_on == "correct" else valid.to(cost.dtype)
    weight = torch.where(valid & solved, weight, 0.0)
    total = weight.sum(1, keepdim=True).clamp(min=torch.finfo(cost.dtype).tiny)
    if time == "log":
        centred = cost.log() - (weight * cost.log()).sum(1, keepdim=True) / total
    else:
        mean = (weight * cost).sum(1, keepdim=True) / total
        centred = torch.where(solved, cost / mean.clamp(min=torch.finfo(cost.dtype).tiny) - 1, 0.0)
    slowness = weight * centred / (safe_p if time_on == "correct" else 1.0)

    advantage = (correct - p) / safe_p - time_elasticity * slowness
    if weighting == "success":
        advantage = advantage * safe_p
    return torch.where(valid, torch.where(solved, advantage, 0.0), torch.nan)
