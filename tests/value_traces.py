"""Hand-made probed traces that several tests of the value head share."""

import torch

from timecost.value.traces import ProbedTraces


def make_traces(rows, hidden_size: int = 2) -> ProbedTraces:
    """Rows of (problem, num_thinking, natural, end_value, [(position, value), ...]); hidden is (value, position)."""
    points = [(t, position, value) for t, row in enumerate(rows) for position, value in row[4]]
    trace, position, value = (torch.tensor(column) for column in zip(*points, strict=True))
    hidden = torch.zeros(len(points), hidden_size)
    hidden[:, 0], hidden[:, 1] = value.nan_to_num(), position
    return ProbedTraces(
        problem=torch.tensor([row[0] for row in rows]),
        num_thinking=torch.tensor([row[1] for row in rows]),
        natural=torch.tensor([row[2] for row in rows]),
        end_value=torch.tensor([float(row[3]) for row in rows]),
        trace=trace, position=position, value=value.float(), hidden=hidden, closing=hidden.clone(),
        confidence=value.float(), entropy=1 - value.float(), answer=torch.arange(len(points)) % 2,
        agreed=torch.ones(len(points), dtype=torch.long),
    )  # fmt: skip


def two_traces() -> ProbedTraces:
    """A natural end after 6 tokens with boundaries at 0, 3, 6; a cut after 4 with boundaries at 0 and 2."""
    return make_traces(
        [(7, 6, True, 0.9, [(0, 0.1), (3, 0.5), (6, 0.8)]), (8, 4, False, 0.3, [(0, 0.2), (2, float("nan"))])]
    )


def gambles(num_problems: int = 300, seed: int = 0) -> ProbedTraces:
    """Problems whose state shows whether one more step of 4 tokens takes a wrong answer to a right one, or nothing."""
    generator = torch.Generator().manual_seed(seed)
    helps = torch.rand(num_problems, generator=generator) < 0.5
    rows = [
        (i, 4, True, 0.9 if good else 0.1, [(0, 0.1), (4, 0.9 if good else 0.1)])
        for i, good in enumerate(helps.tolist())
    ]
    traces = make_traces(rows)
    traces.hidden[:, 0] = helps[traces.trace].float()
    return traces
