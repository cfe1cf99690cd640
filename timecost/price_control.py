"""How the price of time moves during training: constant, warmed up, or held where a stated target is met.

The price is a factor on the strength of the objective (`timecost.objectives.STRENGTH`). Dual ascent raises it while
there is room and lowers it when the target is missed, so that a user states what is meant ("lose at most 1 point",
"at most 200 tokens on average") and not a price. A guard notices collapse and backs off. It sees the completions of
all processes, so that each of them has the same factor.
"""

import logging
import os
from collections.abc import Sequence
from itertools import chain
from math import exp, isfinite, log, sqrt

import torch
from torch import Tensor

from timecost.errors import UserError

SCHEDULES = ("constant", "warmup", "dual")
REFERENCE_BATCHES = 5  # first batches, whose roll-outs stand for the start model
LEARNING_STEPS = 20  # first steps, too few to tell whether the accuracy rises
DECAY, SLOW_DECAY = 0.9, 0.97  # of the moving averages, and of what they are compared with, per step
FACTORS = (1e-3, 1e3)  # bounds of dual ascent
MAX_HALVINGS = 10
STEP = 256  # completions that the control sees at least before it moves: a mean of fewer is noise
MIN_STYLE = 30  # completions of a style in the reference, below which its mean says too little
COOL_DOWN = 20  # steps after backing off before the guard judges again
SIGNS = {
    "length": "the mean cost has halved within 20 steps of the control",
    "entropy": "the entropy has left 0.1 to 3 times its start",
    "no_signal": "nine of ten groups give no gradient",
}


def check_control(
    schedule: str, *, max_accuracy_loss: float | None, max_mean_cost: float | None, reference_accuracy: float | None,
    warmup_steps: int, rate: float, margin: float,
) -> None:  # fmt: skip
    """Raises UserError for settings that contradict each other or lie out of range."""
    if schedule not in SCHEDULES:
        raise UserError(f"price_schedule must be one of {', '.join(SCHEDULES)}, not {schedule!r}")
    targets = {"max_accuracy_loss": max_accuracy_loss, "max_mean_cost": max_mean_cost}
    stated = [name for name, value in targets.items() if value is not None]
    if schedule == "dual" and len(stated) != 1:
        raise UserError(
            "price_schedule 'dual' needs one target: max_accuracy_loss (0.01 is one point) or max_mean_cost (200)"
        )
    if schedule != "dual" and (stated or reference_accuracy is not None):
        name = (stated or ["reference_accuracy"])[0]
        raise UserError(f"{name} is a target of price_schedule 'dual': set that, or leave it out")
    for name, value in targets.items():
        if value is not None and not 0 < value < (1 if name == "max_accuracy_loss" else float("inf")):
            raise UserError(f"{name}={value} is out of range: a point of accuracy is 0.01, a cost is positive")
    if reference_accuracy is not None and (max_accuracy_loss is None or not 0 < reference_accuracy <= 1):
        raise UserError(f"reference_accuracy={reference_accuracy} must lie in (0, 1] and goes with max_accuracy_loss")
    if warmup_steps < 0 or (schedule == "warmup") != (warmup_steps > 0):
        raise UserError("price_warmup_steps (at least 1) and price_schedule 'warmup' go together")
    if not 0 < rate <= 1 or not margin > 0:
        raise UserError(f"price_rate={rate} must lie in (0, 1] and collapse_margin={margin} be positive")


class PriceControl:
    """The factor on the price, one step after the other; a step is at least 256 completions, of as many batches of
    roll-outs (`steps_per_generation`) as that takes.

    schedule: constant (1); warmup (linear from 0 to 1 over `warmup_steps` batches); dual. Dual ascent works on the
    logarithm of the factor with a proportional term beside the integral, which keeps it from swinging around the target
    (Stooke et al., arXiv 2007.03964): per step log f grows by rate · e, and f is multiplied by exp(e), with

        e = (accuracy − (reference − max_accuracy_loss)) / max_accuracy_loss    or    (T̄ / max_mean_cost − 1) / 0.1

    clipped to [−2, 1] and [−1, 1], within factors of 1e-3 to 1e3, from moving averages over about 10 steps. The
    reference is given, or the accuracy of the start model in the first 5 batches (and 256 completions), in which the
    factor is 1. Before the accuracy has reached its target for the first time, it does not lower the price while it
    rises (its average over 10 steps is above that over 30): it is learning that is missing, and a price that has gone
    down by then is long in coming back.

    guard: measures every objective by J = log p − ε · E[log T] (ε = `elasticity`) over the batch. In these first
    batches it takes J of each style of the start model from the completions that happened to use it, and keeps the
    best. There is a collapse when the moving average of J falls below the lower of that best and its own best so far by
    more than `margin` nats (0.1: about 10 % of accuracy more than the saving is worth; more where J is noisy): the
    factor is halved, ten times at most, and the reason kept in `events`. With `acts` False, for an objective without a
    price, it is only told. Early signs (SIGNS) keep dual ascent from raising the price and are logged when they appear.
    """

    def __init__(
        self,
        schedule: str = "constant",
        *,
        warmup_steps: int = 0,
        max_accuracy_loss: float | None = None,
        max_mean_cost: float | None = None,
        reference_accuracy: float | None = None,
        rate: float = 0.03,
        guard: bool = False,
        acts: bool = True,
        elasticity: float = 0.05,
        margin: float = 0.1,
    ):
        check_control(
            schedule, max_accuracy_loss=max_accuracy_loss, max_mean_cost=max_mean_cost,
            reference_accuracy=reference_accuracy, warmup_steps=warmup_steps, rate=rate, margin=margin,
        )  # fmt: skip
        self.schedule, self.warmup_steps, self.rate = schedule, warmup_steps, rate
        self.max_accuracy_loss, self.max_mean_cost = max_accuracy_loss, max_mean_cost
        self.guard, self.acts, self.elasticity, self.margin = guard, acts, elasticity, margin
        self.num_batches = self.num_steps = 0
        self.referred = False  # whether the start model is known
        self.pending: list[tuple] = []  # batches that are too few completions for a step
        self.reference = reference_accuracy
        self.given = reference_accuracy is not None
        self.means: dict[str, float] = {}  # moving averages
        self.reached = False  # whether the accuracy has been at its target
        self.log_factor, self.error, self.backed_off, self.last_back_off = 0.0, 0.0, 0, -COOL_DOWN
        self.styles: dict[str, list[float]] = {}  # of the start model: completions, correct ones, sum of log cost
        self.best_style: str | None = None
        self.best_style_value = self.best_value = self.last_value = self.start_entropy = None
        self.entropy: float | None = None  # the policy's, nats per token, when it last learned; set from outside
        self.costs: list[float] = []  # the moving average of the last 20 steps
        self.signs: list[str] = []
        self.events: list[str] = []

    @property
    def factor(self) -> float:
        """What the objective's price is multiplied by at the present step."""
        factor = 1.0
        if self.schedule == "warmup":
            factor = min(1.0, self.num_batches / self.warmup_steps)
        if self.schedule == "dual":
            low, high = FACTORS
            factor = min(high, max(low, exp(self.log_factor + self.error)))
        return factor * 0.5 ** min(self.backed_off, MAX_HALVINGS) if self.acts else 1.0

    def observe(
        self,
        correct: Tensor,
        cost: Tensor,
        *,
        styles: Sequence[str] | None = None,
        no_signal: float = 0.0,
    ) -> None:
        """Take in a batch of completions, of all processes: correctness (NaN: not judged) and cost, any shape.

        `styles` names the style of each, in the same order; `no_signal` is the share of groups without a gradient.
        """
        correct, cost = correct.flatten().double(), cost.flatten().double()
        valid = ~torch.isnan(correct)
        if not valid.any():
            return
        self.num_batches += 1
        names = ["all"] * len(correct) if styles is None else styles
        names = [name for name, judged in zip(names, valid.tolist(), strict=True) if judged]
        self.pending.append((len(correct), correct[valid].tolist(), cost[valid].tolist(), names, no_signal))
        if sum(batch[0] for batch in self.pending) < STEP:
            return
        _, *columns, no_signals = zip(*self.pending, strict=True)
        self.pending = []
        right, costs, names = (list(chain.from_iterable(column)) for column in columns)
        right, costs = torch.tensor([right, costs], dtype=torch.float64)
        self._step(right, costs, names, sum(no_signals) / len(no_signals))

    @property
    def _tolerance(self) -> float:
        """How far the moving average of J may fall before it is a collapse, in nats: the margin, or five of its
        standard errors, as the differences of successive steps tell them."""
        return max(self.margin, 5 * sqrt(self.means.get("jump", 0.0) / 2 * (1 - DECAY) / (1 + DECAY)))

    def _step(self, correct: Tensor, cost: Tensor, styles: list[str], no_signal: float) -> None:
        self.num_steps += 1
        p, mean_cost = float(correct.mean()), float(cost.mean())
        value = self.value(p, float(cost.log().mean()), len(correct))
        new = {"accuracy": p, "cost": mean_cost, "value": value, "no_signal": no_signal}
        if self.last_value is not None:
            new["jump"] = (value - self.last_value) ** 2
        self.last_value = value
        if self.entropy is not None and isfinite(self.entropy):
            new["entropy"] = self.entropy
        self._average(new)
        if not self.referred:
            self._refer(correct, cost, styles)
            self.referred = self.num_batches >= REFERENCE_BATCHES
            return
        if self.guard:
            self._watch()
        if self.schedule == "dual":
            self._ascend()

    def value(self, p: float, log_cost: float, num: int) -> float:
        """J = log p − ε · E[log T] in nats; p is held above half a completion in `num`."""
        return log(max(p, 0.5 / num)) - self.elasticity * log_cost

    def metrics(self) -> dict[str, float]:
        """For the log: with the guard value, collapses (so far) and early_signs (now)."""
        if not self.guard:
            return {}
        told = {"value": self.means["value"]} if "value" in self.means else {}
        return {**told, "collapses": float(self.backed_off), "early_signs": float(len(self.signs))}

    def state_dict(self) -> dict:
        return {name: value for name, value in vars(self).items() if name not in _SETTINGS}

    def load_state_dict(self, state: dict) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def _average(self, new: dict[str, float]) -> None:
        """Moving averages whose first steps weigh like a plain mean."""
        for name, number in {**new, "slow_accuracy": new["accuracy"]}.items():
            weight = max(1 - (SLOW_DECAY if name in ("slow_accuracy", "jump") else DECAY), 1 / self.num_steps)
            self.means[name] = (1 - weight) * self.means.get(name, number) + weight * number

    def _refer(self, correct: Tensor, cost: Tensor, styles: list[str]) -> None:
        """Gather the start model's accuracy and, style by style, what it reaches."""
        for style, right, log_cost in zip(styles, correct.tolist(), cost.log().tolist(), strict=True):
            cell = self.styles.setdefault(style, [0.0, 0.0, 0.0])
            for k, number in enumerate((1.0, right, log_cost)):
                cell[k] += number
        if not self.given:
            self.reference = self.means["accuracy"]
        values = {
            name: self.value(right / num, log_cost / num, int(num))
            for name, (num, right, log_cost) in self.styles.items() if num >= MIN_STYLE
        } or {"all": self.means["value"]}  # fmt: skip
        self.best_style = max(values, key=values.get)
        self.best_style_value, self.best_value = values[self.best_style], self.means["value"]
        self.start_entropy = self.means.get("entropy")

    def _ascend(self) -> None:
        if self.max_accuracy_loss is not None:
            room = self.means["accuracy"] - (self.reference - self.max_accuracy_loss)
            error = min(1.0, max(-2.0, room / self.max_accuracy_loss))
            self.reached = self.reached or error >= 0
            rise = self.means["accuracy"] - self.means["slow_accuracy"]
            if not self.reached and (self.num_steps <= LEARNING_STEPS or rise > 0.1 * self.max_accuracy_loss):
                error = 0.0
        else:
            error = min(1.0, max(-1.0, (self.means["cost"] / self.max_mean_cost - 1) / 0.1))
        if self.signs and error > 0:
            error = 0.0
        self.error = error
        low, high = map(log, FACTORS)
        self.log_factor = min(high, max(low, self.log_factor + self.rate * error))

    def _watch(self) -> None:
        self.costs = [*self.costs, self.means["cost"]][-COOL_DOWN:]
        entropy = self.means.get("entropy")
        found = {
            "length": self.means["cost"] < 0.5 * max(self.costs),
            "entropy": bool(entropy is not None and self.start_entropy)
            and not 0.1 <= entropy / self.start_entropy <= 3,
            "no_signal": self.means["no_signal"] > 0.9,
        }
        signs = [name for name, present in found.items() if present]
        for name in set(signs) - set(self.signs):
            self._say(f"early sign of collapse: {SIGNS[name]}")
        self.signs = signs
        value = self.means["value"]
        self.best_value = max(self.best_value, value)
        bar = min(self.best_style_value, self.best_value) - self._tolerance
        if value < bar and self.num_steps - self.last_back_off >= COOL_DOWN:
            before = self.factor
            self.backed_off, self.last_back_off = self.backed_off + 1, self.num_steps
            self._say(
                f"collapse: log p - {self.elasticity:g} log T is {value:.3f}, below {bar:.3f} (the start model's style "
                f"{self.best_style!r} alone gives {self.best_style_value:.3f}); "
                + (f"price factor {before:.3g} -> {self.factor:.3g}" if self.acts else "there is no price to lower")
            )

    def _say(self, text: str) -> None:
        self.events.append(f"batch {self.num_batches} of roll-outs: {text}")
        if int(os.environ.get("RANK", 0)) == 0:  # every process comes to the same
            logging.getLogger(__name__).warning(self.events[-1])


_SETTINGS = {
    "schedule", "warmup_steps", "rate", "max_accuracy_loss", "max_mean_cost", "guard", "acts", "elasticity", "margin",
    "given",
}  # fmt: skip
