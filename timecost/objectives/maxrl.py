"""The gradient of log p: what `levin` becomes when time is free."""

import torch
from torch import Tensor


def maxrl(correct: Tensor, cost: Tensor) -> Tensor:
    """(c − p)/p with p the solve rate of the prompt, 0 where p = 0 (MaxRL, arXiv 2602.02710). No strength.

    A prompt weighs the more the less often it is solved; with G completions 1/p saturates at G.

    >>> maxrl(torch.tensor([[1.0, 0.0]]), torch.ones(1, 2))
    tensor([[ 1., -1.]])
    """
    p = torch.nanmean(correct, dim=1, keepdim=True)
    advantage = torch.where(p > 0, (correct - p) / torch.where(p > 0, p, 1.0), 0.0)
    return torch.where(torch.isnan(correct), torch.nan, advantage)
