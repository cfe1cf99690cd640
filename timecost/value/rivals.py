"""Rivals of the value head on the same recorded traces: what each sees, and the rule that it stops by.

Signals rise where stopping looks better; a signal stops at the first boundary where it reaches a threshold, which is
chosen for each price on problems of its own. Fitted rivals are heads, trained by the same code, that see less than
the hidden state: the position alone, the question alone, the probe's answer alone.
"""

from dataclasses import replace

import torch
from torch import Tensor

from timecost.value.stopping import GO_ON, STOP, first_stop
from timecost.value.traces import ProbedTraces

LOOK = {"fixed budget": 0.0, "confidence": 1.0, "entropy": 1.0, "agreement": 1.0}  # tokens a decision takes


def signals(traces: ProbedTraces) -> dict[str, Tensor]:
    """name -> (N,). All but the budget look at the answer, for which the closing token has to be run."""
    return {
        "fixed budget": traces.position.float(),
        "confidence": traces.confidence,
        "entropy": -traces.entropy,
        "agreement": traces.agreed.float(),
    }


def sees_position(traces: ProbedTraces) -> ProbedTraces:
    """The traces for a head that knows only how long it has thought."""
    return replace(traces, hidden=torch.zeros(len(traces), 1))


def sees_question(traces: ProbedTraces) -> ProbedTraces:
    """The traces for a head that knows the state before the first token of thinking, and the position."""
    starts = torch.zeros(len(traces.problem), dtype=torch.long)
    first = (traces.position == 0).nonzero()[:, 0]
    starts[traces.trace[first]] = first
    return replace(traces, hidden=traces.hidden[starts[traces.trace]])


def sees_answer(traces: ProbedTraces) -> ProbedTraces:
    """The traces for a head that knows the probe's confidence, entropy and agreement, and the position."""
    odds = torch.logit(traces.confidence.clamp(1e-4, 1 - 1e-4))
    return replace(traces, hidden=torch.stack([traces.confidence, odds, traces.entropy, traces.agreed], 1))


def outcome(traces: ProbedTraces, decision: Tensor, look: float = 0.0) -> tuple[Tensor, Tensor]:
    """Chance of a right answer and thinking tokens of each trace (T,) when stopped where `decision` (N,) first says.

    `look` is what each decision on the way takes, in tokens.
    """
    at = first_stop(decision, traces.trace, len(traces.problem))
    point = at.clamp_min(0)
    value = torch.where(at >= 0, traces.value[point], traces.end_value)
    tokens = torch.where(at >= 0, traces.position[point], traces.num_thinking)
    if look:
        before = torch.searchsorted(traces.trace, torch.arange(len(at)))
        num_boundaries = torch.bincount(traces.trace, minlength=len(at))
        tokens = tokens + look * torch.where(at >= 0, at - before + 1, num_boundaries)
    return value, tokens


def stop_at(signal: Tensor, threshold: float) -> Tensor:
    """Decisions (N,) of a signal."""
    return torch.where(signal >= threshold, STOP, GO_ON)


def thresholds(signal: Tensor, num: int = 40) -> list[float]:
    """Candidates: quantiles of the signal, and never."""
    return [*torch.quantile(signal, torch.linspace(0, 1, num)).unique().tolist(), float("inf")]


def tuned(traces: ProbedTraces, signal: Tensor, prices, look: float = 0.0) -> list[float]:
    """The best threshold at each price, on traces of problems that are not measured later."""
    candidates = thresholds(signal)
    outcomes = [outcome(traces, stop_at(signal, threshold), look) for threshold in candidates]
    best = []
    for price in prices:
        utility = torch.stack([(value - price * tokens).mean() for value, tokens in outcomes])
        best.append(candidates[int(utility.argmax())])
    return best
