"""HAPO: shorter than the shortest correct answer that this problem ever had."""

import hashlib
import json
from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor

from timecost.objectives.groups import CORRECT, masked_min


class Hapo:
    """c + weight · r (HAPO, arXiv 2505.11225) with h the shortest correct length of the problem before this step:

        f = cos(π/2 · min(L/h, 2));   r = max(−0.7, f) where correct, min(0, f) where wrong, 0 while h is unknown

    Weight at most 1, default 1; the floor of −0.7 keeps a correct answer above a wrong one. The history only tightens:
    a lucky short guess sets the mark for the rest of training. On data seen once it never has an effect.

    State: h of each problem, by its id.
    """

    def __init__(self, *, weight: float = 1.0, floor: float = -0.7):
        self.weight, self.floor = weight, floor
        self.shortest: dict[str, float] = {}

    def __call__(self, correct: Tensor, cost: Tensor, *, problem_ids: Sequence[str], update: bool = True) -> Tensor:
        """`problem_ids`: one for each prompt, the same whenever the problem comes again."""
        h = torch.tensor([self.shortest.get(i, torch.nan) for i in problem_ids], device=cost.device)[:, None]
        f = torch.cos(pi / 2 * (cost / h).clamp(max=2.0))
        is_correct = correct >= CORRECT
        bonus = torch.where(is_correct, f.clamp(min=self.floor), f.clamp(max=0.0)).nan_to_num(0.0)
        if update:
            for i, length in zip(problem_ids, masked_min(cost, is_correct)[:, 0].tolist(), strict=True):
                if length < self.shortest.get(i, torch.inf):
                    self.shortest[i] = length
        return correct + self.weight * bonus

    def state_dict(self) -> dict:
        return {"shortest": self.shortest}

    def load_state_dict(self, state: dict) -> None:
        self.shortest = state["shortest"]


def problem_id(prompt: str | list[dict]) -> str:
    """A short name of a prompt, text or messages, that is the same whenever it comes again."""
    return hashlib.sha256(json.dumps(prompt, ensure_ascii=False).encode()).hexdigest()[:16]
