"""Where each token stands: turns padded, packed and continued batches into rows that begin at their own first token.

A B'MOJO layer works on chunks of W tokens, and the chunks are those of each sequence by itself. So padding is moved to
the end of a row, each sequence of a packed row begins at a multiple of W, and a continued row begins where it stopped.
One Layout serves all layers of a forward pass.
"""

from dataclasses import dataclass

import torch


@dataclass
class Layout:
    """Rows of `num_tokens` slots. W: sliding_window; c: index of a chunk in its sequence.

    kind: `plain` (new rows no longer than W: causal attention), `blocked`, or `step` (one token a row, with a cache).
    position: (batch, num_tokens), index of each token in its sequence, earlier calls included.
    valid: (batch, num_tokens) bool; None where every slot is a token. start, packed: first tokens of packed sequences.
    past, counts: tokens of each row before and in this call. source, slot: (batch, num_tokens) and (batch, length),
    which given token a slot holds and which slot a given token has; None where they are the same.
    chunk_index: (batch, n + 1), the c of each chunk of queries, and of the one after them.
    """

    kind: str
    window: int
    position: torch.Tensor
    valid: torch.Tensor | None
    start: torch.Tensor | None
    past: list[int]
    counts: list[int]
    source: torch.Tensor | None
    slot: torch.Tensor | None
    given: torch.Tensor | None
    chunk_index: torch.Tensor

    @property
    def packed(self) -> bool:
        return self.start is not None

    @property
    def conv_position(self) -> torch.Tensor | None:
        """What keeps convolutions inside a sequence, needed where rows hold several."""
        return self.position if self.packed else None

    @property
    def num_chunks(self) -> int:
        return self.chunk_index.shape[1] - 1

    @property
    def offsets(self) -> list[int]:
        """How many tokens of its current chunk each row had before this call."""
        return [past % self.window for past in self.past]

    def to_rows(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, length, size) as given -> (batch, num_tokens, size)."""
        return x if self.source is None else x.gather(1, self.source[..., None].expand(-1, -1, x.shape[2]))

    def to_given(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, num_tokens, size) -> (batch, length, size), zero at padding."""
        if self.slot is None:
            return x
        x = x.gather(1, self.slot[..., None].expand(-1, -1, x.shape[2]))
        return x if self.given is None else x * self.given[..., None]


def make_layout(
    window: int,
    batch: int,
    length: int,
    device: torch.device,
    mask: torch.Tensor | None = None,
    start: torch.Tensor | None = None,
    past: list[int] | None = None,
) -> Layout:
    """The layout of a (batch, length) input.

    Args:
        mask: (batch, length), 0 at padding; None for none.
        start: (batch, length) bool, first tokens of packed sequences; None where each row is one sequence.
        past: tokens that each row's cache has seen; None without a cache, or with an empty one.
    """
    steps = torch.arange(length, device=device)
    source = slot = given = valid = None
    counts, width = [length] * batch, length
    if mask is not None and start is None:
        mask = mask.bool()
        counts = mask.sum(1).tolist()
        if min(counts) < length:
            width = max(max(counts), 1)
            given, slot = mask, (mask.long().cumsum(1) - 1).clamp(min=0)
            source = (~mask).long().argsort(dim=1, stable=True)[:, :width]
            valid = steps[:width] < torch.tensor(counts, device=device)[:, None]
    if start is not None:
        return _packed(window, batch, length, device, mask, start)
    before = past or [0] * batch
    position = steps[:width] + torch.tensor(before, device=device)[:, None]
    if past is not None and width == 1 and min(counts) == 1:
        kind, n = "step", 1
    elif past is None and width <= window:
        kind, n = "plain", 1
    else:
        kind = "blocked"
        n = max(-(-(p % window + count) // window) for p, count in zip(before, counts, strict=True))
        n = max(n, 1)
    first = torch.tensor([p // window for p in before], device=device)
    chunk_index = first[:, None] + torch.arange(n + 1, device=device)
    return Layout(kind, window, position, valid, None, before, counts, source, slot, given, chunk_index)


def _packed(window, batch, length, device, mask, start) -> Layout:
    start = start.clone()
    start[:, 0] = True
    given = None if mask is None or bool(mask.all()) else mask.bool()
    steps = torch.arange(length, device=device).expand(batch, -1)
    begins = torch.where(start, steps, 0).cummax(dim=1).values
    local = steps - begins
    # Each sequence takes whole chunks: the chunks before a sequence are those that begin before it.
    opens_chunk = local % window == 0
    slot = (opens_chunk.long().cumsum(1) - 1) * window + local % window
    n = int(opens_chunk.sum(1).max())
    width = n * window
    source = torch.zeros(batch, width, dtype=torch.long, device=device).scatter(1, slot, steps)
    valid = torch.zeros(batch, width, dtype=torch.bool, device=device)
    valid = valid.scatter(1, slot, torch.ones_like(steps, dtype=torch.bool) if given is None else given)
    first = local.gather(1, source)[:, ::window]  # position of the first token of each chunk
    chunk_index = first // window
    chunk_index = torch.cat([chunk_index, chunk_index[:, -1:] + 1], dim=1)
    position = (first[..., None] + torch.arange(window, device=device)).view(batch, width)
    starts = torch.zeros(batch, width, dtype=torch.bool, device=device).scatter(1, slot, start)
    kind = "plain" if n == 1 else "blocked"
    return Layout(
        kind, window, position, valid, starts, [0] * batch, [length] * batch, source, slot, given, chunk_index
    )
