"""The stop rule: at each step boundary, given a price of time, go on, stop and answer, or decline.

Open loop: commit to the best horizon Δ, m = max over Δ > 0 of [P(Δ) - price * E min(Δ, remaining)] - P(0). Closed
loop: the head's own gain of going on when later boundaries may still stop. Stop where m <= 0; decline where even the
better of stopping and going on is worth less than `least_value`. The price, named at inference, is in chances of a
right answer per unit of a cost model, and for the rule per thinking token: one head serves every price. The same code
decides in generation and in evaluation.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from timecost.cost import CostModel, TokenCost, in_unit, marginal_cost
from timecost.errors import UserError
from timecost.forcing import force
from timecost.value.head import Forecast, ValueHead
from timecost.value.novelty import question_features
from timecost.value.probes import sureness
from timecost.value.states import StateReader

GO_ON, STOP, DECLINE = 0, 1, 2
RULES = ("open", "closed")


@dataclass(frozen=True)
class StopRule:
    """A price per unit of a cost model and, to decline, the least net value that is acceptable.

    `decline_novel` declines questions that are stranger than all but this share of usual ones (timecost.value.novelty).
    Only the start of the thinking may decline. `rule` None takes the head's own. `highest`: per thinking token, the
    price that is not exceeded, whatever the cost model says; below 0 nothing is stopped.
    """

    price: float
    least_value: float | None = None
    rule: str | None = None
    cost_model: CostModel = TokenCost()
    highest: float = float("inf")
    decline_novel: float | None = None

    def __post_init__(self):
        if not 0 <= self.price < float("inf"):
            unit = self.cost_model.unit
            raise UserError(f"price={self.price} must be a number from 0 on: right answers that one of {unit} is worth")
        if self.rule is not None and self.rule not in RULES:
            raise UserError(f"rule is one of {', '.join(RULES)}, not {self.rule!r}")
        if self.least_value is not None and not 0 <= self.least_value <= 1:
            raise UserError(f"least_value={self.least_value} must lie in [0, 1]")
        if self.decline_novel is not None and not 0 < self.decline_novel < 1:
            raise UserError(f"decline_novel={self.decline_novel} must lie between 0 and 1: a share of usual questions")


def price_per_token(rule: StopRule, prompt=0.0, position=0.0):
    """The price of one more thinking token, in chances of a right answer; numbers or tensors of tokens.

    The token that comes next stands for those behind it, which cost a little more where the context is paid for.
    """
    price = rule.price * marginal_cost(rule.cost_model, prompt, position)
    return price.clamp(max=rule.highest) if isinstance(price, Tensor) else min(price, rule.highest)


def parse_price(text: str | float, cost_model: CostModel) -> float:
    """A price as a user writes it, `0.002`, `0.1/second`, per unit of the cost model. UserError for another unit."""
    return in_unit(text, cost_model.unit, "price", per=True)


def open_margin(forecast: Forecast, price: float | Tensor) -> Tensor:
    """m (B,) when one horizon is committed to, at one price or one for each boundary (B,)."""
    net = forecast.value - torch.as_tensor(price, device=forecast.value.device)[..., None] * forecast.tokens
    return net[:, 1:].max(1).values - forecast.value[:, 0]


def closed_margin(forecast: Forecast, price: float | Tensor, prices: tuple[float, ...]) -> Tensor:
    """m (B,) from the gains at the head's prices, linear between them; beyond the highest one as there.

    The gain is convex in the price, so that the line lies above it: too much thinking rather than too little.
    """
    gain = forecast.gain
    grid = torch.tensor(prices, device=gain.device)
    price = torch.as_tensor(price, dtype=grid.dtype, device=gain.device).clamp(prices[0], prices[-1])
    right = torch.searchsorted(grid, price.expand(len(gain)).contiguous()).clamp(1, len(prices) - 1)
    share = (price - grid[right - 1]) / (grid[right] - grid[right - 1])
    left, right = (gain.gather(1, k[:, None])[:, 0] for k in (right - 1, right))
    return (1 - share) * left + share * right


def margin(head: ValueHead, forecast: Forecast, price: float | Tensor, rule: str | None = None) -> Tensor:
    if (rule or head.config.rule) == "open":
        return open_margin(forecast, price)
    return closed_margin(forecast, price, head.config.prices)


def decide(
    head: ValueHead, forecast: Forecast, position: Tensor, rule: StopRule, price: float | Tensor | None = None,
    p_value: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """GO_ON, STOP or DECLINE at each of B boundaries; `position` (B,) in thinking tokens.

    `price` per thinking token, at each boundary or at all; without it the rule's own, in tokens. `p_value` (B,) is that
    of the question, for a rule that declines novel ones; it does so before the first token.
    """
    price = torch.as_tensor(price_per_token(rule) if price is None else price, device=forecast.value.device)
    m = margin(head, forecast, price.clamp_min(0), rule.rule)
    decision = torch.where((m <= 0) & (price >= 0), STOP, GO_ON)
    if rule.least_value is not None:
        best = forecast.value[:, 0] + m.clamp_min(0)
        hopeless = (best < rule.least_value) & (position == 0)
        decision = torch.where(hopeless, DECLINE, decision)
    if rule.decline_novel is not None:
        decision = torch.where((p_value <= rule.decline_novel) & (position == 0), DECLINE, decision)
    return decision


def first_stop(decision: Tensor, trace: Tensor, num_traces: int) -> Tensor:
    """Index (T,) of the first point of each trace that does not go on, -1 where none: the rule on recorded traces.

    `decision` (N,) and `trace` (N,) are ordered by trace and position.
    """
    stops = (decision != GO_ON).nonzero()[:, 0]
    first = torch.full((num_traces,), -1, dtype=torch.long, device=decision.device)
    first[trace[stops].flip(0)] = stops.flip(0)
    return first


def rule_at(
    price: str | float, cost_model: CostModel, head: ValueHead, *, least_value: float | None = None,
    decline_novel: float | None = None, clip: bool = True, task: str | None = None,
) -> tuple[StopRule, list[str]]:  # fmt: skip
    """The rule at a price as a user writes it, and what to tell the user of it: `held_safe` unless `clip` is false.

    Raises UserError for what is no price per unit of the cost model, and for shares that are none.
    """
    rule = StopRule(parse_price(price, cost_model), least_value, cost_model=cost_model, decline_novel=decline_novel)
    return held_safe(head, rule, task) if clip else (rule, [])


def held_safe(
    head: ValueHead, rule: StopRule, task: str | None = None, mark: str = "warning: "
) -> tuple[StopRule, list[str]]:
    """The rule at no higher price than calibration found safe, and what to tell the user of it, a line each.

    Where it found none safe nothing is stopped: `highest` is -1. A line begins with `mark` where no guarantee holds.
    """
    calibration, said = head.config.calibration, []
    if calibration is None:
        return rule, [
            f"{mark}the value head is not calibrated: nothing bounds the accuracy that stopping costs; run `timecost "
            "calibrate-value`"
        ]
    if task is not None and task != calibration["task"]:
        said.append(
            f"{mark}the value head was calibrated on {calibration['task']}, not on {task}: its guarantee does not hold "
            "here"
        )
    highest = calibration["price"]
    if highest is None:
        highest = -1.0
        said.append("calibration found no price safe: the head does not stop (--no_clip, clip=False lets it)")
    elif price_per_token(rule) > highest or rule.cost_model.needs_prompt:
        said.append(
            f"price held at the calibrated {highest:g} per thinking token at most (--no_clip, clip=False keeps it)"
        )
    return replace(rule, highest=min(rule.highest, highest)), said


class ValueGuard:
    """A logits processor that closes thinking where the rule says so; a context manager around `generate`.

    `causes` tells for each row afterwards: "value", "declined" or None, and `looks` how many closing tokens it looked
    at. What is declined closes its thinking and ends without an answer, by the first of `eos_ids`. `prompt_tokens` are
    the lengths of the prompts, for a cost model that needs them. Rows must keep their places: no beams.
    """

    def __init__(self, model, head: ValueHead, rule: StopRule, closed: list[bool], prompt_length: int,
                 think_end_id: int, eos_ids: list[int], prompt_tokens: list[int] | None = None):  # fmt: skip
        if rule.decline_novel is not None and head.novelty is None:
            raise UserError("this value head does not know which questions are usual: fit it with `timecost fit-value`")
        self.reader = StateReader(model, think_end_id, self._looks_ahead if head.config.peek else None)
        self.head, self.rule, self.prompt_length = head, rule, prompt_length
        self.think_end_id, self.eos_id = think_end_id, eos_ids[0]
        self.ends_thinking = torch.tensor([think_end_id, *eos_ids], device=model.device)
        self.ends_step = torch.zeros(model.get_input_embeddings().num_embeddings, dtype=torch.bool, device=model.device)
        self.ends_step[list(head.config.step_rule.token_ids)] = True
        self.open = ~torch.tensor(closed, dtype=torch.bool, device=model.device)
        self.prompt_tokens = torch.tensor(prompt_tokens or [prompt_length] * len(closed), device=model.device).double()
        self.num_read, self.tail = -prompt_length, None  # thinking tokens that were read, and the last of them
        self.declined = torch.zeros_like(self.open)
        self.causes: list[str | None] = [None] * len(closed)
        self.looks = torch.zeros_like(self.open, dtype=torch.long)
        self.answers = torch.full_like(self.looks, -1)  # at the boundary before, -1 where it was not looked at
        self.agreed = torch.zeros_like(self.looks)  # boundaries in a row that gave it

    def __enter__(self) -> "ValueGuard":
        self.reader.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.reader.__exit__(*error)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        length = input_ids.shape[1] - self.prompt_length
        rows = self._due(input_ids, length)
        if self.rule.least_value is not None or self.rule.decline_novel is not None:
            scores = force(scores, self.declined, self.eos_id)
        if not len(rows):
            return scores
        with torch.no_grad():
            p_value = self._p_values(input_ids) if length == 0 and self.rule.decline_novel is not None else None
            decision = self._decide(rows, length, p_value)
        for row, what in zip(rows.tolist(), decision.tolist(), strict=True):
            if what != GO_ON:
                self.causes[row] = "value" if what == STOP else "declined"
        stopped = torch.zeros_like(self.open)
        stopped[rows] = decision != GO_ON
        self.declined[rows] = decision == DECLINE
        return force(scores, stopped, self.think_end_id)

    def _p_values(self, input_ids: Tensor) -> Tensor:
        """P-values (B,) of the questions in rows that are padded on the left."""
        lengths = self.prompt_tokens.long().tolist()
        prompts = [ids[len(ids) - length :] for ids, length in zip(input_ids.tolist(), lengths, strict=True)]
        features = question_features(self.reader.model, prompts)
        return self.head.novelty.p_value(features.to(input_ids.device))

    def _decide(self, rows: Tensor, length: int, p_value: Tensor | None) -> Tensor:
        """Decisions of the rows (R,) behind `length` tokens of thinking; each looks where its price allows a look."""
        price = self._price(rows, length)
        decision = torch.empty(len(rows), dtype=torch.long, device=rows.device)
        peeks = self._pays(price)
        blind = self.head.blind if self.head.config.peek else self.head
        for own, here in ((self.head, peeks), (blind, ~peeks)):
            if not here.any():
                continue
            chosen, look = rows[here], None
            if own.config.peek:
                look = self._look(chosen)
            else:
                self.answers[chosen] = -1
            forecast = own(self.reader.states[chosen, -1], torch.full_like(chosen, length), look)
            p = torch.ones(len(chosen), device=rows.device) if p_value is None else p_value[chosen]
            decision[here] = decide(own, forecast, torch.full_like(chosen, length), self.rule, price[here], p)
        return decision

    def _look(self, rows: Tensor) -> tuple[Tensor, ...]:
        """What the closing token tells of the rows (R,)."""
        confidence, entropy, answer = sureness(self.reader.closing_logits[rows])
        self.agreed[rows] = torch.where(answer == self.answers[rows], self.agreed[rows] + 1, 1)
        self.answers[rows] = answer
        self.looks[rows] += 1
        return self.reader.closing[rows], confidence, entropy, self.agreed[rows]

    def _price(self, rows: Tensor, length: int) -> Tensor:
        """Per thinking token (R,), of the rows (R,)."""
        price = price_per_token(self.rule, self.prompt_tokens[rows], float(length))
        return torch.as_tensor(price, dtype=torch.float64, device=rows.device).expand(len(rows))

    def _looks_ahead(self, input_ids: Tensor) -> bool:
        """Whether a decision that looks follows the forward of these tokens."""
        offset = self.head.config.step_rule.offset
        self.tail = (input_ids if self.tail is None else torch.cat([self.tail, input_ids], 1))[:, -1 - offset :]
        self.num_read += input_ids.shape[1]
        if self.num_read < 0:
            return False
        rows = self._due(self.tail, self.num_read)
        return bool(self._pays(self._price(rows, self.num_read)).any())

    def _pays(self, price: Tensor) -> Tensor:
        """Whether a look pays at each price (R,); where nothing is stopped it tells nothing."""
        return (price >= 0) & (price <= self.head.config.peek_up_to) & self.head.config.peek

    def _due(self, input_ids: Tensor, length: int) -> Tensor:
        """The rows (R,) that think and are at a boundary, from the last tokens of all rows."""
        if length:
            self.open &= ~torch.isin(input_ids[:, -1], self.ends_thinking)
        return (self.open & self._at_boundary(input_ids, length)).nonzero()[:, 0]

    def _at_boundary(self, input_ids: Tensor, length: int) -> Tensor:
        rule = self.head.config.step_rule
        if length == 0 or (rule.every and length % rule.every == 0):
            return torch.ones_like(self.open)
        if length <= rule.offset:
            return torch.zeros_like(self.open)
        return self.ends_step[input_ids[:, -1 - rule.offset]]
