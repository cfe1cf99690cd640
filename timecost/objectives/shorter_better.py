"""ShorterBetter: as close as possible to the shortest correct answer of the group."""

import torch
from torch import Tensor

from timecost.objectives.groups import CORRECT, masked_mean, masked_min


def shorter_better(correct: Tensor, cost: Tensor, *, alpha: float = 2.0, beta: float = 1e-3) -> Tensor:
    """alpha · c − beta · |L − SOL|; SOL is the shortest correct length of the prompt, else the mean of its lengths.

    arXiv 2504.21370; alpha = 2, beta = 1e-3 per token. The penalty falls on wrong answers too: a wrong answer shorter
    than SOL is drawn to it, and in a group without a correct one all are drawn to the mean.
    """
    valid = ~torch.isnan(correct)
    shortest = masked_min(cost, correct >= CORRECT)
    optimal = torch.where(torch.isfinite(shortest), shortest, masked_mean(cost, valid))
    return alpha * correct - beta * (cost - optimal).abs()
