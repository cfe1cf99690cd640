"""The guarantee: the largest price whose stopping does harm to at most a share e of problems, with confidence 1 - δ.

A harm is a problem that full thinking answers right and stopping answers wrong, so that the accuracy lost is at most
the rate of harms. Prices are tested in a fixed sequence, from never stopping upwards, each by an exact binomial test of
"harms are more frequent than e", until one fails; then, at most δ of all calibrations store a price whose rate of harm
exceeds e (fixed-sequence testing: Bauer 1991; for risk control: Angelopoulos et al., arXiv 2110.01052). It holds for
problems, sampling and limits like those of the calibration, and only there.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from timecost.value.head import ValueHead
from timecost.value.probes import ProbedTraces
from timecost.value.stopping import StopRule, decide, first_stop

TESTED = tuple(10 ** (-4 + k / 8) for k in range(25))  # prices from 0.0001 to 0.1 per thinking token


def binomial_p_value(num_harms: int, num_problems: int, harm: float) -> float:
    """P(X <= num_harms) of a binomial X(num_problems, harm): small when harms are rarer than `harm`."""
    if num_harms >= num_problems:
        return 1.0
    total = 0.0
    for k in range(num_harms + 1):
        log_term = (
            math.lgamma(num_problems + 1) - math.lgamma(k + 1) - math.lgamma(num_problems - k + 1)
            + k * math.log(harm) + (num_problems - k) * math.log1p(-harm)
        )  # fmt: skip
        total += math.exp(log_term)
    return min(1.0, total)


def binomial_interval(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of a share."""

    def solve(target, upper):
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            below = binomial_p_value(count if upper else count - 1, total, middle) if 0 < middle < 1 else 1 - middle
            low, high = (middle, high) if below > target else (low, middle)
        return (low + high) / 2

    tail = (1 - level) / 2
    return (0.0 if count == 0 else solve(1 - tail, False)), (1.0 if count == total else solve(tail, True))


def harms(head: ValueHead, traces: ProbedTraces, prices, uniform: Tensor, rule: str | None = None) -> Tensor:
    """Whether each trace (T,) is harmed at each price, (T, prices): right after full thinking, wrong when stopped.

    An answer is right when `uniform` (T,) lies below its probability: both answers draw with the same luck.
    """
    forecasts = {own: own.forecast(traces) for own in {head.at_price(float(price)) for price in prices}}
    right = uniform < traces.end_value
    columns = []
    for price in prices:
        own = head.at_price(float(price))
        decision = decide(own, forecasts[own], traces.position, StopRule(float(price), rule=rule))
        at = first_stop(decision, traces.trace, len(traces.problem))
        stopped = torch.where(at >= 0, traces.value[at.clamp_min(0)], traces.end_value)
        columns.append(right & ~(uniform < stopped))
    return torch.stack(columns, 1)


def largest_safe_price(harmed: Tensor, prices, *, loss: float = 0.01, delta: float = 0.1) -> tuple[float, int]:
    """The last price of the sequence that passes, 0 for none, and its harms. `harmed` is (T, prices)."""
    found = (0.0, 0)
    for price, column in zip(prices, harmed.T, strict=True):
        count = int(column.sum())
        if binomial_p_value(count, len(column), loss) > delta:
            break
        found = (float(price), count)
    return found


def calibrate(
    head: ValueHead,
    traces: ProbedTraces,
    *,
    task: str,
    loss: float = 0.01,
    delta: float = 0.1,
    prices=TESTED,
    seed: int = 0,
) -> dict:
    """Find the price, store it in the head's config, and return what is stored. One trace a problem.

    Raises ValueError for several traces of a problem: they would not be independent.
    """
    if len(traces.problem.unique()) != len(traces.problem):
        raise ValueError("calibration needs one trace for each problem")
    uniform = torch.rand(len(traces.problem), generator=torch.Generator().manual_seed(seed))
    price, num_harms = largest_safe_price(harms(head, traces, prices, uniform), prices, loss=loss, delta=delta)
    found = {
        "task": task, "price": price, "loss": loss, "delta": delta, "num_problems": len(traces.problem),
        "num_harms": num_harms, "rule": head.config.rule,
    }  # fmt: skip
    head.config = replace(head.config, calibration=found)
    return found
