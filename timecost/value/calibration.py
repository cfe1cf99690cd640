"""The guarantee: the largest price whose stopping costs at most e of accuracy, with confidence 1 - δ.

Where the chance of a right answer is known (tasks with exact answers), what is bounded is the rate of harms: problems
that full thinking answers right and stopping, with the same luck, answers wrong; the accuracy lost is at most that.
Each price is tested by an exact binomial test of "harms are more frequent than e". Where answers are sampled, there is
no same luck; what is bounded is the accuracy lost itself, by betting against "it is more than e". Prices are tested in
a fixed sequence, from never stopping upwards, until one fails; then at most δ of all calibrations store a price that
costs more than e (fixed-sequence testing: Bauer 1991; for risk control: Angelopoulos et al., arXiv 2110.01052). It
holds for problems, sampling and limits like those of the calibration, and only there.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from timecost.errors import UserError
from timecost.value.head import ValueHead
from timecost.value.stopping import StopRule, decide, first_stop
from timecost.value.traces import ProbedTraces

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


def betting_p_value(losses: Tensor, loss: float, delta: float = 0.1) -> float:
    """P-value of "the mean loss is at least `loss`" from independent losses (n,) in [-1, 1], in random order.

    The capital of who bets against it, each time a share that past losses choose, is a supermartingale if it is true,
    and exceeds 1/p at some time with probability p at most (Waudby-Smith & Ramdas, arXiv 2010.09686, section 4).
    """
    total, squares, log_capital, highest = 0.0, 0.25, 0.0, 0.0
    for i, value in enumerate(losses.tolist()):
        mean = total / i if i else 0.0
        variance = max(squares / (i + 1), 1e-6)
        bet = min(0.5 / (1 - loss), math.sqrt(2 * math.log(1 / delta) / (variance * len(losses))))
        log_capital += math.log1p(bet * (loss - value))
        highest = max(highest, log_capital)
        total, squares = total + value, squares + (value - mean) ** 2
    return math.exp(-highest)


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


def stopped_values(head: ValueHead, traces: ProbedTraces, prices, rule: str | None = None) -> Tensor:
    """Chance of a right answer of each trace (T,) where it is stopped at each price, (T, prices); NaN unknown."""
    forecasts = {own: own.forecast(traces) for own in {head.at_price(float(price)) for price in prices}}
    columns = []
    for price in prices:
        own = head.at_price(float(price))
        decision = decide(own, forecasts[own], traces.position, StopRule(float(price), rule=rule))
        at = first_stop(decision, traces.trace, len(traces.problem))
        columns.append(torch.where(at >= 0, traces.value[at.clamp_min(0)], traces.end_value))
    return torch.stack(columns, 1)


def harms(head: ValueHead, traces: ProbedTraces, prices, uniform: Tensor, rule: str | None = None) -> Tensor:
    """Whether each trace (T,) is harmed at each price, (T, prices): right after full thinking, wrong when stopped.

    An answer is right when `uniform` (T,) lies below its probability: both answers draw with the same luck.
    """
    return harmed(traces.end_value, stopped_values(head, traces, prices, rule), uniform)


def harmed(end_value: Tensor, stopped: Tensor, uniform: Tensor) -> Tensor:
    """Right after full thinking (T,) and wrong when stopped (T, prices), an answer being right where `uniform` (T,)
    lies below its probability; an unknown one is wrong."""
    return (uniform < end_value)[:, None] & ~(uniform[:, None] < stopped)


def largest_safe_price(cost: Tensor, prices, *, loss: float = 0.01, delta: float = 0.1) -> float | None:
    """The last price of the sequence that passes, None where none does. `cost` (T, prices) tells whether a problem is
    harmed, or the accuracy that it loses, in [-1, 1], in random order."""
    found = None
    for price, column in zip(prices, cost.T, strict=True):
        if column.dtype == torch.bool:
            p_value = binomial_p_value(int(column.sum()), len(column), loss)
        else:
            p_value = betting_p_value(column, loss, delta)
        if p_value > delta:
            break
        found = float(price)
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
    sampled: bool = False,
) -> dict:
    """Find the price, store it in the head's config, and return what is stored. One trace a problem.

    Stored: task, price (None: no price is safe, the head never stops), loss, delta, num_problems (that could be
    judged), accuracy of full thinking, accuracy_lost at the price, num_harms at it (None where answers are `sampled`),
    and the rule. Raises ValueError for several traces of a problem, which would not be
    independent, and UserError where hardly any full thought is right, so that nothing could be lost.
    """
    if len(traces.problem.unique()) != len(traces.problem):
        raise ValueError("calibration needs one trace for each problem")
    traces = traces.select(~torch.isnan(traces.end_value))
    accuracy = float(traces.end_value.mean()) if len(traces.problem) else 0.0
    if accuracy <= 2 * loss:
        raise UserError(
            f"full thinking is right on {100 * accuracy:.1f} % of {len(traces.problem)} problems, so that stopping has "
            "nothing to lose and a guarantee says nothing: are the answers cut (--max_answer_tokens), or the thoughts?"
        )
    stopped = stopped_values(head, traces, prices)
    lost = traces.end_value[:, None] - stopped.nan_to_num(0.0)
    generator = torch.Generator().manual_seed(seed)
    if sampled:  # in random order, which betting needs: a file may be sorted
        cost = lost[torch.randperm(len(lost), generator=generator)]
    else:
        cost = harmed(traces.end_value, stopped, torch.rand(len(lost), generator=generator))
    price = largest_safe_price(cost, prices, loss=loss, delta=delta)
    at = 0 if price is None else list(prices).index(price)
    found = {
        "task": task, "price": price, "loss": loss, "delta": delta, "num_problems": len(traces.problem),
        "accuracy": round(accuracy, 4), "accuracy_lost": round(float(lost[:, at].mean()), 4),
        "num_harms": None if sampled else int(cost[:, at].sum()), "rule": head.config.rule,
    }  # fmt: skip
    head.config = replace(head.config, calibration=found)
    return found
