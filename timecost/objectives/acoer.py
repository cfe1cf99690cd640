"""ACOER: a bonus for short correct answers whose weight a control loop raises while accuracy holds."""

from math import log

import torch
from torch import Tensor

from timecost.objectives.groups import CORRECT


class Acoer:
    """1 + a · log(1 + 5 (1 − min(L/B, 1)))/log 6 for a correct answer, 0 for a wrong one (arXiv 2606.22716).

    Moving averages (span 50 steps) of accuracy and of the correct length are kept. After `warmup` steps, and once
    `window` of them are known, a is multiplied by 1.02, or by 0.95 when accuracy has fallen by more than 0.02 within
    the window, between 0.01 and 0.5, from 0.02; B becomes 0.85 of the mean correct length. The authors count
    characters / 4, keep the averages of each process apart, and start from B = 4096 tokens; here lengths are costs,
    the averages are over all processes, and B starts at 0.85 of the first batch's mean. They divide by the group's
    standard deviation. B follows the length down for ever: only the loop on accuracy stops it.

    State: a, B, the averages and the window of past accuracies.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.02,
        alpha_range: tuple[float, float] = (0.01, 0.5),
        up: float = 1.02,
        down: float = 0.95,
        span: int = 50,
        warmup: int = 200,
        window: int = 100,
        max_drop: float = 0.02,
        budget_ratio: float = 0.85,
    ):
        self.alpha, self.alpha_range, self.up, self.down = alpha, tuple(alpha_range), up, down
        self.decay, self.warmup, self.window = 2 / (span + 1), warmup, window
        self.max_drop, self.budget_ratio = max_drop, budget_ratio
        self.accuracy = self.length = self.budget = None
        self.history: list[float] = []
        self.num_steps = 0

    def __call__(self, correct: Tensor, cost: Tensor, *, update: bool = True) -> Tensor:
        is_correct = correct >= CORRECT
        length = float(cost[is_correct].mean()) if is_correct.any() else None
        if update and self.budget is None and length is not None:
            self.budget = self.budget_ratio * length
        budget = float("inf") if self.budget is None else self.budget
        saved = 1 - (cost / budget).clamp(max=1.0)
        reward = torch.where(is_correct, 1 + self.alpha * torch.log1p(5 * saved) / log(6), 0.0)
        if update and not torch.isnan(correct).all():
            self._update(float(torch.nanmean(correct)), length)
        return torch.where(torch.isnan(correct), torch.nan, reward)

    def _update(self, accuracy: float, length: float | None) -> None:
        def average(old, new):
            return new if old is None else self.decay * new + (1 - self.decay) * old

        self.accuracy = average(self.accuracy, accuracy)
        self.length = self.length if length is None else average(self.length, length)
        self.history = [*self.history, self.accuracy][-self.window :]
        self.num_steps += 1
        if self.num_steps <= self.warmup or len(self.history) < self.window:
            return
        fell = self.history[0] - self.accuracy > self.max_drop
        low, high = self.alpha_range
        self.alpha = min(high, max(low, self.alpha * (self.down if fell else self.up)))
        if self.length is not None:
            self.budget = self.budget_ratio * self.length

    def state_dict(self) -> dict:
        names = ("alpha", "accuracy", "length", "budget", "history", "num_steps")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict) -> None:
        for name, value in state.items():
            setattr(self, name, value)
