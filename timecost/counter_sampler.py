"""Sampling that depends on nothing but what is sampled: one uniform number per token, by its key and its position.

A counter-based generator has no state to pass on: number i of a stream is a hash of (key of the stream, i). So a token
is the same whichever process draws it, in whatever order, and torch's global generator is neither read nor moved.
"""

import hashlib
import json

# splitmix64 (Steele, Lea & Flood, OOPSLA 2014), its constants as signed 64-bit integers
GAMMA, MIX_1, MIX_2 = (c - 2**64 for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
BITS = 52  # of a uniform number: u * total stays below total in float64


def stream_key(*parts) -> int:
    """The key of a stream of uniform numbers, a signed 64-bit integer: a hash of what the stream stands for."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:8], signed=True)


def uniforms(keys, position: int):
    """Number `position` of each stream: float64 (B,) in [0, 1), from int64 keys (B,)."""
    z = keys + _wrap(GAMMA * (position + 1))
    z = (z ^ _shift(z, 30)) * MIX_1
    z = (z ^ _shift(z, 27)) * MIX_2
    z = z ^ _shift(z, 31)
    return _shift(z, 64 - BITS).double() * 2.0**-BITS


def _shift(x, bits: int):
    """Logical shift to the right of int64: torch's own copies the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _wrap(value: int) -> int:
    """A Python integer modulo 2^64, as a signed one."""
    return (value + 2**63) % 2**64 - 2**63


class CounterSampler:
    """The last logits processor of `generate` with do_sample=False: leaves one token of each row, drawn by its key.

    Row i takes token j where its uniform number falls among the cumulative probabilities at this temperature. `keys`
    are from `stream_key`, one a row; the position is counted from `prompt_length`. No beams. The scores that it is
    given are overwritten. `broken` tells whether a row had no distribution: its logits were not finite.
    """

    def __init__(self, keys: list[int], prompt_length: int, temperature: float = 1.0):
        import torch

        self.keys = torch.tensor(keys, dtype=torch.int64)
        self.prompt_length, self.temperature = prompt_length, temperature
        self.bad_rows = None

    @property
    def broken(self) -> bool:
        return self.bad_rows is not None and bool(self.bad_rows.any())

    def __call__(self, input_ids, scores):
        import torch

        if self.bad_rows is None:
            self.keys = self.keys.to(scores.device)
            self.bad_rows = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
        # In float64: a sum over a long vocabulary, and on a GPU one in no fixed order, must not move a token's edge.
        below = (scores / self.temperature).softmax(-1, dtype=torch.float64)
        torch.cumsum(below, -1, out=below)
        total = below[:, -1:]
        self.bad_rows |= ~total.isfinite().squeeze(1)
        point = uniforms(self.keys, input_ids.shape[1] - self.prompt_length).unsqueeze(1) * total
        tokens = torch.searchsorted(below, point, right=True).clamp_(max=scores.shape[1] - 1)
        return scores.fill_(-torch.inf).scatter_(1, tokens, 0.0)
