"""How unlike a question is to those that a head was fitted on: what the forecasts cannot know of a new kind.

A question is the mean of its tokens' input embeddings: which tokens it has, and how many. Its distance is Mahalanobis's
(for novelty detection: Lee et al. 2018, arXiv 1807.03888), with variances below a floor raised to it, so that what no
question varied in counts the most. Distances of questions that the fit has not seen turn it into a conformal p-value
(Vovk et al. 2005): of questions like those, at most a share α has a p-value of at most α, whatever their distribution.
"""

import torch
from torch import Tensor, nn

MAX_DIRECTIONS = 256
FLOOR = 1e-3  # of the mean variance


@torch.no_grad()
def question_features(model, prompts: list[list[int]]) -> Tensor:
    """Mean input embedding of each prompt of token ids, (P, H) on the CPU."""
    embed = model.get_input_embeddings()
    device = embed.weight.device
    return torch.stack([embed(torch.tensor(ids, device=device)).float().mean(0).cpu() for ids in prompts])


class Novelty(nn.Module):
    """Mean, principal directions and variances of questions, and the distances of `num_usual` others, sorted."""

    def __init__(self, hidden_size: int, num_directions: int, num_usual: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(hidden_size))
        self.register_buffer("directions", torch.zeros(num_directions, hidden_size))
        self.register_buffer("variances", torch.ones(num_directions))
        self.register_buffer("floor", torch.ones(()))  # variance in all other directions
        self.register_buffer("usual", torch.zeros(num_usual))

    def distance(self, features: Tensor) -> Tensor:
        """Squared Mahalanobis distance (P,) of features (P, H)."""
        away = features.to(self.mean) - self.mean
        along = away @ self.directions.T
        return (away**2).sum(1) / self.floor + (along**2 * (1 / self.variances - 1 / self.floor)).sum(1)

    def p_value(self, features: Tensor) -> Tensor:
        """Share (P,) of usual questions, itself counted as one, that are at least as far away."""
        nearer = torch.searchsorted(self.usual, self.distance(features))
        return (1 + len(self.usual) - nearer).float() / (1 + len(self.usual))


def fit_novelty(features: Tensor, held_out: Tensor) -> Novelty:
    """Fitted to the questions (P, H) that are not `held_out` (P,); the distances of the others are to compare with."""
    kept = features[~held_out].double()
    size = kept.shape[1]
    variances, directions = torch.linalg.eigh(torch.cov(kept.T, correction=0))
    floor = FLOOR * variances.mean().clamp_min(1e-12)
    found = Novelty(size, min(size, MAX_DIRECTIONS), int(held_out.sum()))
    chosen = variances.argsort(descending=True)[:MAX_DIRECTIONS]
    found.mean.copy_(kept.mean(0))
    found.directions.copy_(directions[:, chosen].T)
    found.variances.copy_(variances[chosen].clamp_min(floor))
    found.floor.copy_(floor)
    found.usual.copy_(found.distance(features[held_out]).sort().values)
    return found
