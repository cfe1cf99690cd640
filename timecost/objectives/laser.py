"""LASER: a bonus for a correct answer within a target length, fixed or found for each level of difficulty.

arXiv 2505.15612. Both divide by the group's standard deviation in the paper; not doing so changes the weight of a
prompt, not the order of its completions.
"""

from math import ceil

import torch
from torch import Tensor

from timecost.objectives.groups import CORRECT

LEVELS = {"high": 2 / 3, "medium": 1 / 3, "low": 0.0}  # solve rate from which a prompt is of the level


def laser(correct: Tensor, cost: Tensor, *, target: float = 4096, bonus: float = 0.5) -> Tensor:
    """1 + bonus for a correct answer within the target, 1 for a longer one, −0.5 for a wrong one; bonus 0.5.

    One target for all prompts: an easy one may think as long as a hard one, and below it length is free.
    """
    return _stepped(correct, cost <= target, bonus)


class LaserD:
    """LASER-D: the target of a prompt is that of its level of difficulty, and follows the policy.

    With K completions, a prompt of the level is expected to have C correct ones: 2K/3 when p >= 2/3, K/3 when p >= 1/3
    (both rounded down), else 1. The target is the shortest length within which one of them is expected to fall: the 1/C
    quantile of the lengths of correct completions at the level; the authors' code counts wrong ones too. The paper
    measures them on a set of its own every few steps; here they are the last `window` correct completions of the
    roll-outs. A level without any has no target.

    State: lengths for each level. Args: bonus (0.5), window (512 completions).
    """

    def __init__(self, *, bonus: float = 0.5, window: int = 512):
        self.bonus, self.window = bonus, window
        self.lengths: dict[str, list[float]] = {level: [] for level in LEVELS}

    def __call__(self, correct: Tensor, cost: Tensor, *, update: bool = True) -> Tensor:
        """1 + bonus within the level's target, 1 beyond it, −0.5 when wrong; learns the lengths first."""
        p = torch.nanmean(correct, 1)
        levels = [next((name for name, least in LEVELS.items() if rate >= least - 1e-6), None) for rate in p.tolist()]
        if update:
            for level, row, is_correct in zip(levels, cost, correct >= CORRECT, strict=True):
                if level is not None:
                    self.lengths[level] = (self.lengths[level] + row[is_correct].tolist())[-self.window :]
        num = correct.shape[1]
        targets = [float("inf") if level is None else self.target(level, num) for level in levels]
        return _stepped(correct, cost <= torch.tensor(targets, device=cost.device)[:, None], self.bonus)

    def target(self, level: str, num_generations: int) -> float:
        """The target of a level in units of cost."""
        lengths = sorted(self.lengths[level])
        if not lengths:
            return float("inf")
        expected = max(1, int(num_generations * LEVELS[level] + 1e-6))
        return lengths[ceil(len(lengths) / expected) - 1]

    def state_dict(self) -> dict:
        return {"lengths": self.lengths}

    def load_state_dict(self, state: dict) -> None:
        self.lengths = state["lengths"]


def _stepped(correct: Tensor, within: Tensor, bonus: float) -> Tensor:
    reward = torch.where(correct >= CORRECT, 1.0 + bonus * within, -0.5)
    return torch.where(torch.isnan(correct), torch.nan, reward)
