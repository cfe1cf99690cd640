"""L1's length-controlled policy optimisation: a length that the prompt asks for, met exactly or not exceeded.

arXiv 2503.04697. In the paper n is drawn for each prompt from 100 to 4000 tokens and said in words, and L is the
whole completion. Here n is the budget that the prompt's token asks for (`budgets`), which bounds the thinking, so L is
the thinking; without budget tokens n is one number for all prompts and L the cost. The paper divides by the group's
standard deviation (verl's GRPO); under `scale_rewards="none"` alpha keeps its unit, and a larger one may be right.
"""

import torch
from torch import Tensor


def lcpo_exact(
    correct: Tensor,
    cost: Tensor,
    *,
    alpha: float = 3e-4,
    budget: float | Tensor | None = None,
    thinking: Tensor | None = None,
) -> Tensor:
    """c − alpha · |n − L|, alpha = 3e-4 per token. A prompt without a bound (n infinite) gives c.

    `budget` is n, a number or (num_prompts, num_generations); `thinking` is L, `cost` where it is None. A wrong answer
    of the right length is worth more than another: the length is learned even where nothing is solved.
    Raises ValueError without a budget.
    """
    n, used = _asked(cost, budget, thinking)
    return correct - alpha * torch.where(torch.isfinite(n), (n - used).abs(), 0.0)


def lcpo_max(
    correct: Tensor,
    cost: Tensor,
    *,
    alpha: float = 3e-4,
    delta: float = 0.5,
    budget: float | Tensor | None = None,
    thinking: Tensor | None = None,
) -> Tensor:
    """c · clip(alpha (n − L) + delta, 0, 1), alpha = 3e-4 per token, delta = 0.5. Arguments as in `lcpo_exact`.

    A correct answer just within its budget is worth delta, and more the shorter it is: n is a slope, not a bound. One
    without a bound (n infinite) is worth 1.
    """
    n, used = _asked(cost, budget, thinking)
    return correct * torch.where(torch.isfinite(n), (alpha * (n - used) + delta).clamp(0.0, 1.0), 1.0)


def _asked(cost: Tensor, budget: float | Tensor | None, thinking: Tensor | None) -> tuple[Tensor, Tensor]:
    if budget is None:
        raise ValueError("lcpo needs a budget: train with `budgets`, or set budget in objective_kwargs")
    per_prompt = isinstance(budget, Tensor)
    n = torch.as_tensor(budget, dtype=cost.dtype, device=cost.device)
    return n, thinking if per_prompt and thinking is not None else cost
