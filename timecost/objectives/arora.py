"""Shorter than the other correct answers to the same prompt."""

import torch
from torch import Tensor

from timecost.objectives.groups import CORRECT, z_scores


def arora(correct: Tensor, cost: Tensor, *, alpha: float = 0.1) -> Tensor:
    """c · (1 − alpha · sigmoid((L − mean)/std)); mean and std over the correct completions of the prompt.

    Arora & Zanette, arXiv 2502.04463, with alpha from 0.05 to 0.4; default 0.1. They use RLOO's baseline, which the
    mean of the group equals up to the factor G/(G − 1). The z-score has no unit: a saving of one token is worth as much
    where lengths barely differ as a saving of a thousand where they spread, so noise in length is priced too.
    """
    return correct * (1 - alpha * torch.sigmoid(z_scores(cost, correct >= CORRECT)))
