"""Traces: sampled thoughts, and what probes found at the boundaries of their steps, NaN where there was none."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from timecost.value.steps import StepRule, step_boundaries


@dataclass(frozen=True)
class Trace:
    """A sampled thought in token ids. `natural`: it ended by itself; else it was cut at the limit."""

    problem: int
    prompt_ids: list[int]
    thinking_ids: list[int]
    natural: bool
    boundaries: list[int]


def read_trace(
    problem: int, prompt_ids, completion_ids, think_end_id: int, eos_ids, rule: StepRule, limit: int
) -> Trace:
    """The thinking of a completion, cut at `limit` tokens, and its boundaries."""
    ends = [i for i, token in enumerate(completion_ids[: limit + 1]) if token == think_end_id or token in eos_ids]
    thinking = list(completion_ids[: ends[0] if ends else limit])
    return Trace(problem, list(prompt_ids), thinking, bool(ends), step_boundaries(thinking, rule))


@dataclass(frozen=True)
class ProbedTraces:
    """T traces and their N boundaries, ordered by trace and position. Tensors on the CPU.

    `value` (N,) and `end_value` (T,) are chances of a right answer in [0, 1], NaN where unknown; a trace that was cut
    has the value of an answer forced at the cut. Positions and `num_thinking` are in tokens. `confidence`, `entropy`
    (nats) and `answer` (token id) are of the likeliest first token of the answer, NaN and -1 without a probe; `agreed`
    counts the boundaries in a row, this one included, with that `answer`.
    """

    problem: Tensor  # (T,)
    num_thinking: Tensor  # (T,)
    natural: Tensor  # (T,)
    end_value: Tensor  # (T,)
    trace: Tensor  # (N,) index into the T traces
    position: Tensor  # (N,)
    value: Tensor  # (N,)
    hidden: Tensor  # (N, H) state of the last token before the boundary
    closing: Tensor  # (N, H) state of the closing token, were it written there; NaN without a probe
    confidence: Tensor  # (N,)
    entropy: Tensor  # (N,)
    answer: Tensor  # (N,)
    agreed: Tensor  # (N,)

    def __len__(self) -> int:
        return len(self.trace)

    def select(self, keep: Tensor) -> "ProbedTraces":
        """The traces where `keep` (T,) is true, with their points."""
        rows = keep[self.trace]
        new = torch.cumsum(keep.long(), 0) - 1
        of_traces = {name: getattr(self, name)[keep] for name in TRACE_FIELDS}
        of_points = {name: getattr(self, name)[rows] for name in POINT_FIELDS}
        return ProbedTraces(**of_traces, **{**of_points, "trace": new[of_points["trace"]]})

    def save(self, path) -> None:
        from safetensors.torch import save_file

        save_file({field.name: getattr(self, field.name).contiguous() for field in fields(self)}, path)

    @classmethod
    def load(cls, path) -> "ProbedTraces":
        from safetensors.torch import load_file

        return cls(**load_file(path))


TRACE_FIELDS = ("problem", "num_thinking", "natural", "end_value")
POINT_FIELDS = ("trace", "position", "value", "hidden", "closing", "confidence", "entropy", "answer", "agreed")


def agreement(trace: Tensor, answer: Tensor) -> Tensor:
    """How many boundaries in a row, this one included, gave the same answer, (N,); no answer, -1, agrees with none."""
    index = torch.arange(len(trace))
    same = (trace[1:] == trace[:-1]) & (answer[1:] == answer[:-1]) & (answer[1:] != -1)
    began = torch.where(torch.cat([torch.tensor([False])[: len(trace)], same]), 0, index).cummax(0).values
    return index - began + 1


def join(parts: list[ProbedTraces]) -> ProbedTraces:
    """All traces of several sets. Problems keep their numbers: the same number is the same problem."""
    offsets = [0, *torch.tensor([len(part.problem) for part in parts]).cumsum(0).tolist()]
    parts = [replace(part, trace=part.trace + offset) for part, offset in zip(parts, offsets, strict=False)]
    return ProbedTraces(
        **{name: torch.cat([getattr(p, name) for p in parts]) for name in (*TRACE_FIELDS, *POINT_FIELDS)}
    )
