"""GRPO-LEAD's reward: correct answers by their z-score of length, wrong ones punished."""

import torch
from torch import Tensor

from timecost.objectives.groups import CORRECT, z_scores


def lead(correct: Tensor, cost: Tensor, *, alpha: float = 0.05) -> Tensor:
    """exp(−alpha · z) where correct, −1 where wrong; z over the correct lengths of the prompt (arXiv 2504.09696).

    alpha = 0.05. The paper also weighs advantages by difficulty and divides by the group's standard deviation; both act
    on advantages, after the reward, and are left out. As in `arora`, a z-score has no unit.
    """
    is_correct = correct >= CORRECT
    reward = torch.where(is_correct, torch.exp(-alpha * z_scores(cost, is_correct)), -1.0)
    return torch.where(torch.isnan(correct), torch.nan, reward)
