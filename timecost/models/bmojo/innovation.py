"""The innovation test and the eidetic set: which past tokens are kept verbatim.

A causal predictor guesses each token (the layer's normalised input, or the SSM's normalised output) from the SSM's
outputs before it; the mean squared error is the token's innovation. The eidetic set of chunk c holds the M tokens of
highest score among those before chunk c; a query sees those of them that its window has left. Because top-M of (top-M
of a, and b) is top-M of (a and b), sets are built chunk by chunk, and the result does not depend on how a sequence was
cut. Ties go to the earlier token. Selection carries no gradient.
"""

import torch
from torch import nn

from .ssd import causal_conv

NEVER = float("-inf")  # score of a token that may not be kept


class Innovation(nn.Module):
    """Depthwise predictor p_t = sum over j = 1..kernel of w_j r_{t-j}, with r = s / rms(s). Starts as p_t = r_{t-1}.

    Without a rank, p_t is held against r_t. With one, A p_t + b is held against x_t / rms(x_t), where A = up @ down has
    that rank and x is the layer's input: how badly the memory foresaw the token.
    """

    def __init__(self, size: int, kernel: int, eps: float, rank: int = 0):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(kernel, size))
        self.down = nn.Parameter(torch.zeros(rank, size)) if rank else None
        self.up = nn.Parameter(torch.zeros(size, rank)) if rank else None
        self.bias = nn.Parameter(torch.zeros(size)) if rank else None
        self.eps = eps

    def forward(
        self,
        s: torch.Tensor,
        x: torch.Tensor | None = None,
        history: torch.Tensor | None = None,
        position: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """s, x: (batch, tokens, size), outputs of the SSM and inputs of the layer; history: (batch, kernel, size), the
        r before them; position: as in `causal_conv`. Returns innovations (batch, tokens) and r, both at least float32;
        only the predictor has a gradient.
        """
        r = self.normalised(s)
        predicted, target = causal_conv(r, self.weight.to(r.dtype), history, position, lag=1), r
        if self.down is not None:
            target = self.normalised(x)
            with torch.autocast(s.device.type, enabled=False):
                low = predicted @ self.down.to(r.dtype).T
                predicted = low @ self.up.to(r.dtype).T + self.bias.to(r.dtype)
        return (target - predicted).pow(2).mean(-1), r

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


def selection_scores(
    innovation: torch.Tensor, position: torch.Tensor, policy: str = "innovation", threshold: float = 1.0
) -> torch.Tensor:
    """What top-M ranks, for each policy. innovation, position: (batch, tokens), position in the token's sequence."""
    innovation = innovation.detach()
    place = position.to(innovation.dtype)
    if policy == "innovation":
        return innovation
    if policy == "threshold":  # the first tokens that pass
        return torch.where(innovation >= threshold, -place, NEVER)
    if policy == "recency":
        return place
    mixed = (position * 2654435761 + 40503) % 4294967296  # random: a hash of the position, the same in every form
    mixed = ((mixed >> 15) ^ mixed) * 2246822519 % 4294967296
    return ((mixed >> 13) ^ mixed).to(torch.float64).div(2**33).to(innovation.dtype)


@torch.no_grad()
def merge(
    kept_scores: torch.Tensor, kept_index: torch.Tensor, scores: torch.Tensor, index: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Top-M of a set of M and of further tokens, in order of index.

    Args: scores and indices (batch, M) of the set, ordered by index, empty places last with score -inf; and (batch, n)
    of the further tokens, whose indices are higher. Returns both for the new set, empty places last.
    """
    size = kept_scores.shape[1]
    all_scores, all_index = torch.cat([kept_scores, scores], 1), torch.cat([kept_index, index.expand_as(scores)], 1)
    best, order = all_scores.sort(dim=1, descending=True, stable=True)
    best, chosen = best[:, :size], all_index.gather(1, order[:, :size])
    last = torch.iinfo(chosen.dtype).max
    order = chosen.masked_fill(best == NEVER, last).argsort(dim=1, stable=True)
    return best.gather(1, order), chosen.gather(1, order)


@torch.no_grad()
def select_chunks(
    kept_scores: torch.Tensor, scores: torch.Tensor, chunk_index: torch.Tensor, window: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The eidetic sets of consecutive chunks of `window` tokens.

    Args:
        kept_scores: (batch, M), the set of the first chunk, -inf where empty.
        scores: (batch, n * window), of the n chunks that begin one before the first chunk, -inf where not a token.
        chunk_index: (batch, n), each chunk's index in its sequence; the set of the first one, 0, is empty.

    Returns scores and indices, (batch, n, M): chunk i holds the best of what chunk i - 1 held and of chunk
    i - 1 itself. Indices count the M tokens of kept_scores first, then those of `scores`.
    """
    size, n = kept_scores.shape[1], chunk_index.shape[1]
    index = torch.arange(size + scores.shape[1], device=scores.device)
    kept = kept_scores, index[:size].expand_as(kept_scores)
    all_scores, all_index = [kept[0]], [kept[1]]
    for i in range(1, n):
        part = slice(i * window, (i + 1) * window)
        kept = merge(*kept, scores[:, part], index[size:][part])
        empty = (chunk_index[:, i] < 1)[:, None]
        kept = kept[0].masked_fill(empty, NEVER), kept[1]
        all_scores.append(kept[0])
        all_index.append(kept[1])
    return torch.stack(all_scores, 1), torch.stack(all_index, 1)
