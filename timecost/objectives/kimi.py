"""Kimi k1.5's length reward: where a completion stands between the shortest and the longest of its prompt."""

import torch
from torch import Tensor

from timecost.objectives.groups import CORRECT, masked_max, masked_min


def kimi(correct: Tensor, cost: Tensor, *, weight: float = 1.0) -> Tensor:
    """c + weight · r with l = 0.5 − (L − Lmin)/(Lmax − Lmin); r = l where correct, min(0, l) where wrong.

    arXiv 2501.12599, section 2.3.3; the weight is not published, and is warmed up there after a phase without it. Lmin
    and Lmax are over all completions of the prompt; where they are equal r = 0. The range is always the whole of
    [−0.5, 0.5]: with two completions that differ by one token, one token is worth a whole `weight`.
    """
    valid = ~torch.isnan(correct)
    shortest, longest = masked_min(cost, valid), masked_max(cost, valid)
    spread = longest - shortest
    place = torch.where(spread > 0, 0.5 - (cost - shortest) / torch.where(spread > 0, spread, 1.0), 0.0)
    return correct + weight * torch.where(correct >= CORRECT, place, place.clamp(max=0.0))
