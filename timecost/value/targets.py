"""What the value head is trained to forecast, made from probed traces.

Thinking stops only where a step ends. "Thinking Δ more tokens" is therefore: on to the last boundary within Δ tokens,
or to the natural end where that comes first; its outcome is absorbed by every longer horizon, because dropping such
pairs would leave the long, hard traces.
"""

import torch
from torch import Tensor

from timecost.value.traces import ProbedTraces


def horizons_up_to(max_thinking: int) -> tuple[int, ...]:
    """0, 1, 2, 4 ... tokens, the last one at least `max_thinking`."""
    horizons = [0, 1]
    while horizons[-1] < max_thinking:
        horizons.append(2 * horizons[-1])
    return tuple(horizons)


def anytime_values(traces: ProbedTraces, horizons: tuple[int, ...]) -> Tensor:
    """Chance of a right answer after each horizon and at the end of the trace, (N, horizons + 1); NaN: not probed."""
    stride = int(traces.position.max()) + max(horizons) + 2
    keys = traces.trace * stride + traces.position
    length = traces.num_thinking[traces.trace]
    end = traces.end_value[traces.trace].float()
    columns = []
    for horizon in horizons:
        last = torch.searchsorted(keys, keys + horizon, right=True) - 1
        columns.append(torch.where(traces.position + horizon >= length, end, traces.value[last].float()))
    # A boundary at the very end is still a choice: closing there by force or leaving it to the model.
    columns[0] = torch.where(torch.isnan(traces.value), columns[0], traces.value.float())
    return torch.stack([*columns, end], 1)


def remaining_tokens(traces: ProbedTraces) -> tuple[Tensor, Tensor]:
    """Thinking tokens that followed each boundary (N,), and whether a cut hides how many would have followed (N,)."""
    return traces.num_thinking[traces.trace] - traces.position, ~traces.natural[traces.trace]


def hazard_targets(remaining: Tensor, censored: Tensor, horizons: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Whether thinking ended within each horizon given that it had not before, (N, horizons), and where that is known.

    A trace that was cut counts up to the cut alone: it says only that thinking lasted longer than that, since the
    token behind the cut was read too.
    """
    edges = torch.tensor(horizons)
    before = torch.cat([torch.tensor([-1]), edges[:-1]])
    ended = (remaining[:, None] <= edges) & ~censored[:, None]
    at_risk = torch.where(censored[:, None], remaining[:, None] >= edges, remaining[:, None] > before)
    return (ended & at_risk).float(), at_risk


def returns(
    traces: ProbedTraces, stop: Tensor, prices: Tensor, value: Tensor, look: float | Tensor = 0.0
) -> tuple[Tensor, Tensor]:
    """What going on from each boundary brought under a policy, less what it cost: value and tokens, (N, J) each.

    `stop` (N, J) tells where the policy stops at each of the J prices, `value` (N,) what stopping there is worth. By
    backward induction over each trace: on to the next boundary, and there stop or go on. The net return is value
    - price * tokens. At the last boundary the trace ends by itself. `look`, at each price or at all, is what each
    further decision takes, in tokens.
    """
    num_points = len(traces)
    length = traces.num_thinking[traces.trace]
    is_last = torch.ones(num_points, dtype=torch.bool)
    is_last[:-1] = traces.trace[1:] != traces.trace[:-1]
    from_end = torch.zeros(num_points, dtype=torch.long)  # boundaries that follow in the trace
    position = torch.arange(num_points)
    ends = position[is_last]
    from_end = ends[torch.searchsorted(ends, position)] - position
    reward = torch.empty(num_points, len(prices))
    tokens = torch.empty(num_points, len(prices))
    reward[is_last] = traces.end_value[traces.trace[is_last], None].float().expand(-1, len(prices))
    tokens[is_last] = (length - traces.position)[is_last, None].float().expand(-1, len(prices))
    for k in range(1, int(from_end.max()) + 1 if num_points else 0):
        here = position[from_end == k]
        there = here + 1
        step = (traces.position[there] - traces.position[here]).float()[:, None]
        reward[here] = torch.where(stop[there], value[there, None], reward[there])
        tokens[here] = step + look + torch.where(stop[there], 0.0, tokens[there])
    return reward, tokens
