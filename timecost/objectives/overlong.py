"""DAPO's soft punishment of completions that come near the length limit."""

import torch
from torch import Tensor


def overlong(
    correct: Tensor, cost: Tensor, *, weight: float = 1.0, max_length: float = 20480, cache: float | None = None
) -> Tensor:
    """c + weight · r; r = 0 up to Lmax − Lc, then linear to −1 at Lmax, −1 beyond (DAPO, arXiv 2503.14476, eq. 13).

    `max_length` is Lmax, 20480 in the paper and the trainer's `max_completion_length` in training; `cache` is Lc, the
    paper's fifth of it by default. The paper scores correctness ±1, divides by the group's standard deviation and
    takes the mean over tokens (TRL's `loss_type="dapo"`). It keeps completions from being cut; far from the limit it
    has no gradient and saves nothing.
    """
    cache = 0.2 * max_length if cache is None else cache
    return correct + weight * ((max_length - cache - cost) / cache).clamp(-1.0, 0.0)


def truncation(
    correct: Tensor,
    cost: Tensor,
    *,
    limits: tuple[float, ...] | list[float] = (4000, 3000, 2000),
    steps_per_stage: int = 100,
    step: int = 0,
) -> Tensor:
    """c within the limit, 0 beyond it; the limit is the next of `limits` after every `steps_per_stage` steps.

    ThinkPrune (arXiv 2504.01296) lowers it by hand from 4k over 3k to 2k as each stage converges. DLER (2510.15110)
    holds one limit, `limits=[n]`, and divides by the standard deviation of the batch, `scale_rewards="batch"`, which
    keeps the reward's proportions. Both cut the roll-out itself; here it is written to its end, so that its length is
    known, and scored as if it had been cut. Where nothing fits the limit no completion gets a gradient.
    """
    limit = limits[min(step // steps_per_stage, len(limits) - 1)]
    return torch.where(cost <= limit, correct, 0.0 * correct)
