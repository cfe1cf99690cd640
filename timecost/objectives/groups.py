"""Statistics of the completions of one prompt, over those that a mask lets in."""

import torch
from torch import Tensor

CORRECT = 0.5  # at and above which a partial score counts as correct, where a formula asks for yes or no


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over each row (num_prompts, 1); 0 where the mask is empty."""
    return torch.where(mask, values, 0.0).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)


def masked_std(values: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation over each row (num_prompts, 1), of the population; 0 where the mask is empty."""
    return masked_mean((values - masked_mean(values, mask)) ** 2, mask).sqrt()


def masked_min(values: Tensor, mask: Tensor) -> Tensor:
    """Minimum over each row (num_prompts, 1); infinity where the mask is empty."""
    return torch.where(mask, values, torch.inf).amin(1, keepdim=True)


def masked_max(values: Tensor, mask: Tensor) -> Tensor:
    """Maximum over each row (num_prompts, 1); minus infinity where the mask is empty."""
    return torch.where(mask, values, -torch.inf).amax(1, keepdim=True)


def z_scores(values: Tensor, mask: Tensor) -> Tensor:
    """(value - mean)/std with both over the mask; 0 where the standard deviation is 0."""
    std = masked_std(values, mask)
    centred = values - masked_mean(values, mask)
    return torch.where(std > 0, centred / torch.where(std > 0, std, 1.0), 0.0)
