"""Budgets of thinking: the tokens that stand for them, and the ladder of rungs that a model was trained on.

A budget is a number of thinking tokens, or None for no bound. It stands in the prompt as one special token,
`<|budget_64|>` or `<|budget_inf|>`, so that it reaches any server unchanged. Nothing here imports torch.
"""

from collections.abc import Sequence


def budget_token(budget: int | None) -> str:
    """The token of a rung, in thinking tokens; of no bound for None."""
    return f"<|budget_{'inf' if budget is None else budget}|>"


def smallest_rung(num_thinking: int, rungs: Sequence[int]) -> int | None:
    """The smallest rung that holds `num_thinking` tokens, None when none does: a trace's label in hindsight."""
    return min((rung for rung in rungs if num_thinking <= rung), default=None)
