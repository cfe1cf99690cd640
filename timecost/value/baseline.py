"""Advantages per token: what the head came to expect along a thought is taken off what the thought brought.

The group's mean is a baseline that knows the prompt. This one also knows the prefix: between two boundaries every token
has

    A(t) = A - w . (x(k) - x(0)),    x = (chance of a right answer at the end of thinking, log of the expected length)

with A the advantage of the completion and k the last boundary before the token. What a prefix foretells is no merit of
the tokens behind it. Any function of the prefix leaves the gradient's expectation as it is, and so does w, which is
fitted by least squares to earlier steps alone (control variates: Greensmith, Bartlett & Baxter, JMLR 2004).
"""

import torch
from accelerate import PartialState
from torch import Tensor

from timecost.errors import UserError
from timecost.value.head import ValueHead
from timecost.value.states import states_at
from timecost.value.traces import Trace

RIDGE = 1e-3


class PrefixBaseline:
    """The weights w, from decayed moments of the steps seen so far; 0 before the first.

    Raises UserError with several processes: only the main one's head knows completions.
    """

    def __init__(self, decay: float = 0.95):
        if PartialState().num_processes > 1:
            raise UserError("value_baseline works with one process: the head sees the main one's completions alone")
        self.decay, self.num_steps = decay, 0
        self.moments, self.products = torch.zeros(2, 2), torch.zeros(2)

    @property
    def weights(self) -> Tensor:
        seen = 1 - self.decay**self.num_steps if self.num_steps else 1.0
        return torch.linalg.solve(self.moments / seen + RIDGE * torch.eye(2), self.products / seen)

    def per_token(
        self, model, head: ValueHead, traces: list[Trace], advantages: Tensor, mask: Tensor
    ) -> tuple[Tensor, float]:
        """Advantages (B, T) of advantages (B,) and the mask (B, T) of the completions; the share of their squares that
        is left, over tokens. The moments of this step are taken in afterwards."""
        left = advantages[:, None].expand_as(mask).clone()
        weights, moments, products = self.weights, torch.zeros(2, 2), torch.zeros(2)
        position = torch.tensor([b for trace in traces for b in trace.boundaries])
        told = features(head, torch.cat(states_at(model, traces)), position)
        told = told.split([len(trace.boundaries) for trace in traces])
        for row, (trace, known) in enumerate(zip(traces, told, strict=True)):
            change = known - known[0]  # (K, 2)
            ends = torch.tensor([*trace.boundaries, int(mask[row].sum())])
            length = ends.diff()  # tokens behind each boundary, the answer's among them
            left[row, : ends[-1]] -= (change @ weights).repeat_interleave(length).to(mask.device)
            moments += change.T @ (change * length[:, None])
            products += float(advantages[row]) * (length.float() @ change)
        before = (advantages[:, None] ** 2 * mask).sum()
        share = float((left**2 * mask).sum() / before) if before > 0 else 1.0
        scale = (1 - self.decay) / max(1.0, float(mask.sum()))
        self.moments = self.decay * self.moments + scale * moments
        self.products = self.decay * self.products + scale * products
        self.num_steps += 1
        return left * mask, share


@torch.no_grad()
def features(head: ValueHead, states: Tensor, position: Tensor) -> Tensor:
    """Chance of a right answer at the end, and the log of the expected thinking tokens in all plus one, (K, 2)."""
    device = next(head.parameters()).device
    forecast = head(states.to(device), position.to(device))
    expected = position + forecast.tokens[:, -1].cpu()
    return torch.stack([forecast.value[:, -1].cpu(), torch.log1p(expected)], 1)
