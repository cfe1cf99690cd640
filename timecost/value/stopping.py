"""The stop rule: at each step boundary, given a price of time, go on, stop and answer, or decline.

Open loop: commit to the best horizon Δ, m = max over Δ > 0 of [P(Δ) - price * E min(Δ, remaining)] - P(0). Closed
loop: the head's own gain of going on when later boundaries may still stop. Stop where m <= 0; decline where even the
better of stopping and going on is worth less than `least_value`. The price is in chances of a right answer per thinking
token, named at inference: one head serves every price. The same code decides in generation and in evaluation.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from timecost.errors import UserError
from timecost.forcing import force
from timecost.value.head import Forecast, ValueHead
from timecost.value.probes import StateReader, sureness

GO_ON, STOP, DECLINE = 0, 1, 2
RULES = ("open", "closed")
UNITS = ("tokens",)


@dataclass(frozen=True)
class StopRule:
    """A price per thinking token and, to decline, the least net value that is acceptable.

    `rule` None takes the head's own. `decline_within`: thinking tokens up to which a boundary may decline.
    """

    price: float
    least_value: float | None = None
    rule: str | None = None
    decline_within: int = 0

    def __post_init__(self):
        if not 0 <= self.price < float("inf"):
            raise UserError(f"price={self.price} must be a number from 0 on: chances of a right answer per token")
        if self.rule is not None and self.rule not in RULES:
            raise UserError(f"rule is one of {', '.join(RULES)}, not {self.rule!r}")
        if self.least_value is not None and not 0 <= self.least_value <= 1:
            raise UserError(f"least_value={self.least_value} must lie in [0, 1]")


def price_per_token(price: float, unit: str = "tokens") -> float:
    """A price per `unit` of time as a price per thinking token. The one place where units meet the rule."""
    if unit not in UNITS:
        raise UserError(f"unit is one of {', '.join(UNITS)}, not {unit!r}")
    return price


def open_margin(forecast: Forecast, price: float) -> Tensor:
    """m (B,) when one horizon is committed to."""
    net = forecast.value - price * forecast.tokens
    return net[:, 1:].max(1).values - forecast.value[:, 0]


def closed_margin(forecast: Forecast, price: float, prices: tuple[float, ...]) -> Tensor:
    """m (B,) from the gains at the head's prices, linear between them; beyond the highest one as there.

    The gain is convex in the price, so that the line lies above it: too much thinking rather than too little.
    """
    grid = torch.tensor(prices, device=forecast.gain.device)
    price = min(max(price, prices[0]), prices[-1])
    right = int(torch.searchsorted(grid, torch.tensor(price, device=grid.device)).clamp(1, len(prices) - 1))
    share = (price - prices[right - 1]) / (prices[right] - prices[right - 1])
    return (1 - share) * forecast.gain[:, right - 1] + share * forecast.gain[:, right]


def margin(head: ValueHead, forecast: Forecast, price: float, rule: str | None = None) -> Tensor:
    if (rule or head.config.rule) == "open":
        return open_margin(forecast, price)
    return closed_margin(forecast, price, head.config.prices)


def decide(head: ValueHead, forecast: Forecast, position: Tensor, rule: StopRule) -> Tensor:
    """GO_ON, STOP or DECLINE at each of B boundaries; `position` (B,) in thinking tokens."""
    m = margin(head, forecast, rule.price, rule.rule)
    decision = torch.where(m <= 0, STOP, GO_ON)
    if rule.least_value is not None:
        best = forecast.value[:, 0] + m.clamp_min(0)
        hopeless = (best < rule.least_value) & (position <= rule.decline_within)
        decision = torch.where(hopeless, DECLINE, decision)
    return decision


def first_stop(decision: Tensor, trace: Tensor, num_traces: int) -> Tensor:
    """Index (T,) of the first point of each trace that does not go on, -1 where none: the rule on recorded traces.

    `decision` (N,) and `trace` (N,) are ordered by trace and position.
    """
    stops = (decision != GO_ON).nonzero()[:, 0]
    first = torch.full((num_traces,), -1, dtype=torch.long, device=decision.device)
    first[trace[stops].flip(0)] = stops.flip(0)
    return first


def clip_price(head: ValueHead, price: float, task: str | None = None) -> float:
    """The price, not above the one that calibration found safe. Warns where no guarantee holds."""
    calibration = head.config.calibration
    if calibration is None:
        warnings.warn(
            "the value head is not calibrated: nothing bounds the accuracy that stopping costs; run `timecost "
            "calibrate-value`",
            stacklevel=2,
        )
        return price
    if task is not None and task != calibration["task"]:
        warnings.warn(
            f"the value head was calibrated on {calibration['task']}, not on {task}: its guarantee does not hold here",
            stacklevel=2,
        )
    return min(price, calibration["price"])


class ValueGuard:
    """A logits processor that closes thinking where the rule says so; a context manager around `generate`.

    `causes` tells for each row afterwards: "value", "declined" or None. What is declined closes its thinking and
    ends without an answer. Rows must keep their places: no beams.
    """

    def __init__(self, model, head: ValueHead, rule: StopRule, closed: list[bool], prompt_length: int,
                 think_end_id: int, eos_id: int):  # fmt: skip
        self.reader = StateReader(model)
        self.head, self.rule, self.prompt_length = head.at_price(rule.price), rule, prompt_length
        self.think_end_id, self.eos_id = think_end_id, eos_id
        self.step_ids = torch.tensor(head.config.step_rule.token_ids, dtype=torch.long, device=model.device)
        self.open = ~torch.tensor(closed, dtype=torch.bool, device=model.device)
        self.declined = torch.zeros_like(self.open)
        self.causes: list[str | None] = [None] * len(closed)

    def __enter__(self) -> "ValueGuard":
        self.reader.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.reader.__exit__(*error)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        length = input_ids.shape[1] - self.prompt_length
        if length:
            self.open &= input_ids[:, -1] != self.think_end_id
        if self.declined.any():
            scores = force(scores, self.declined, self.eos_id)
        rows = (self.open & self._at_boundary(input_ids, length)).nonzero()[:, 0]
        if not len(rows):
            return scores
        position = torch.full((len(rows),), length, device=scores.device)
        with torch.no_grad():
            states, look = self.reader.states[rows, -1], None
            if self.head.config.peek:
                closing = self.reader.peek(self.think_end_id)[rows]
                look = closing, *sureness(self.reader.model, closing)
            forecast = self.head(states, position, look)
            decision = decide(self.head, forecast, position, self.rule)
        for row, what in zip(rows.tolist(), decision.tolist(), strict=True):
            if what != GO_ON:
                self.causes[row] = "value" if what == STOP else "declined"
        stopped = torch.zeros_like(self.open)
        stopped[rows] = decision != GO_ON
        self.declined[rows] = decision == DECLINE
        return force(scores, stopped, self.think_end_id)

    def _at_boundary(self, input_ids: Tensor, length: int) -> Tensor:
        rule = self.head.config.step_rule
        if length == 0 or (rule.every and length % rule.every == 0):
            return torch.ones_like(self.open)
        if length <= rule.offset:
            return torch.zeros_like(self.open)
        return torch.isin(input_ids[:, -1 - rule.offset], self.step_ids)
