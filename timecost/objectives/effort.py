"""e1's adaptive effort: a share of the length that this prompt takes at present."""

import torch
from torch import Tensor

from timecost.objectives.groups import masked_mean


def effort(correct: Tensor, cost: Tensor, *, effort: float | Tensor = 0.7) -> Tensor:
    """c where L <= r · (mean length of the prompt's completions), else 0 (arXiv 2510.27042); r is the effort.

    The effort stands in the prompt (`efforts`, whose values are then r), a number or (num_prompts, num_generations);
    without effort tokens it is one for all, default 0.7. The bound follows the policy down: at r < 1 it has no rest
    above one token, and where all lengths are equal nothing is rewarded.
    """
    bound = effort * masked_mean(cost, ~torch.isnan(correct))
    return torch.where(cost <= bound, correct, 0.0 * correct)
