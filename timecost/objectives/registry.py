"""The objectives by name, and one with its arguments bound: what the trainer calls."""

import inspect
from collections.abc import Callable

from torch import Tensor

from timecost.errors import UserError, nearest
from timecost.objectives.accuracy import accuracy
from timecost.objectives.acoer import Acoer
from timecost.objectives.alp import alp
from timecost.objectives.arora import arora
from timecost.objectives.dual import Dual
from timecost.objectives.effort import effort
from timecost.objectives.hapo import Hapo
from timecost.objectives.kimi import kimi
from timecost.objectives.laser import LaserD, laser
from timecost.objectives.lcpo import lcpo_exact, lcpo_max
from timecost.objectives.lead import lead
from timecost.objectives.levin import levin
from timecost.objectives.linear import linear, net
from timecost.objectives.maxrl import maxrl
from timecost.objectives.overlong import overlong, truncation
from timecost.objectives.shorter_better import shorter_better

# What a caller may hand in with each batch; of these an objective declares what it wants as keyword arguments.
CONTEXT = ("budget", "thinking", "effort", "time_elasticity", "problem_ids", "step", "max_length", "update")
SIZES = ("budget", "target", "limits", "max_length", "cache")  # arguments in units of cost
POSITIVE = (*SIZES, "span", "window", "steps_per_stage")  # the others may be 0, only `floor` below
PRICES = {
    "linear": "price", "net": "price", "alp": "beta", "lcpo_exact": "alpha", "lcpo_max": "alpha",
    "shorter_better": "beta",
}  # fmt: skip
# The argument that says what time is worth, of the objectives whose price can be controlled.
STRENGTH = {
    **PRICES, "levin": "time_elasticity", "arora": "alpha", "kimi": "weight", "overlong": "weight", "laser": "bonus",
    "lead": "alpha",
}  # fmt: skip
REGISTRY: dict[str, Callable] = {
    "accuracy": accuracy, "linear": linear, "net": net, "levin": levin, "maxrl": maxrl, "lcpo_exact": lcpo_exact,
    "lcpo_max": lcpo_max, "arora": arora, "kimi": kimi, "overlong": overlong, "truncation": truncation, "laser": laser,
    "laser_d": LaserD, "alp": alp, "hapo": Hapo, "acoer": Acoer, "shorter_better": shorter_better, "lead": lead,
    "effort": effort, "dual": Dual,
}  # fmt: skip


class Objective:
    """An objective of the registry with its arguments.

    Attributes: name; own, its arguments; asks, what of CONTEXT it wants with each batch. What a prompt asks for goes
    before an argument.
    Raises UserError for a name or an argument that does not exist, and for a number out of range.
    """

    def __init__(self, name: str, **kwargs):
        if name not in REGISTRY:
            raise UserError(f"unknown objective {name!r}{nearest(name, REGISTRY)}: one of {', '.join(REGISTRY)}")
        self.name, self.kwargs = name, kwargs
        entry = REGISTRY[name]
        stateful = inspect.isclass(entry)
        known = keywords(entry)
        self.own = own = [
            argument for argument in known if argument not in ("thinking", "problem_ids", "step", "update")
        ]
        if unknown := [argument for argument in kwargs if argument not in own]:
            raise UserError(f"objective {name} has no argument {unknown[0]!r}: it has {', '.join(own) or 'none'}")
        for argument, value in kwargs.items():
            numbers = [n for n in (value if isinstance(value, list | tuple) else [value]) if isinstance(n, int | float)]
            positive = argument in POSITIVE
            if argument != "floor" and not all(n > 0 if positive else n >= 0 for n in numbers):
                least = "positive" if positive else "at least 0"
                raise UserError(f"objective {name}: {argument}={value} must be {least}")
        self.function = entry(**kwargs) if stateful else entry
        self.stateful = stateful
        called = keywords(self.function)
        self.asks = frozenset(called) & set(CONTEXT) - ({"max_length"} & set(kwargs))

    def __call__(self, correct: Tensor, cost: Tensor, *, price_factor: float = 1.0, **context) -> Tensor:
        """The objective of one batch; of `context` it takes what it asks for. `price_factor` multiplies its strength.

        Raises ValueError for a factor other than 1 where the objective has no strength to multiply, and UserError for
        correctness outside [0, 1] or a cost that is not positive.
        """
        correct, cost = (x if x.is_floating_point() else x.float() for x in (correct, cost))
        if (cost <= 0).any():
            raise UserError(
                f"a cost is {cost.min().item():g}: it must be positive, such as tokens with one for the prompt"
            )
        if strange := [score for score in correct.flatten().tolist() if score < 0 or score > 1]:
            raise UserError(
                f"the verifier scored {strange[0]:g}: correctness lies in [0, 1]; what else shall count belongs in "
                "reward_funcs"
            )
        arguments = {} if self.stateful else dict(self.kwargs)
        arguments |= {name: value for name, value in context.items() if name in self.asks}
        if price_factor != 1.0:
            strength = STRENGTH.get(self.name)
            if strength is None:
                raise ValueError(f"objective {self.name} has no price to control")
            default = inspect.signature(self.function).parameters[strength].default
            arguments[strength] = price_factor * arguments.get(strength, default)
        return self.function(correct, cost, **arguments)

    def state_dict(self) -> dict:
        """What it has learned from the batches so far, as JSON can hold it; empty for a pure function."""
        return self.function.state_dict() if self.stateful else {}

    def load_state_dict(self, state: dict) -> None:
        if self.stateful and state:
            self.function.load_state_dict(state)


def keywords(function: Callable) -> list[str]:
    """Names of the keyword-only arguments of a function, of a class, or of an object's call."""
    return [name for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY]
