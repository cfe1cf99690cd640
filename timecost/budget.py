"""Budgets of thinking: the tokens that stand for them, the ladder that a model was trained on, and how a prompt asks.

A budget is a number of thinking tokens, or None for no bound; the answer has a reserve of its own. It stands in the
prompt as one special token, `<|budget_64|>` or `<|budget_inf|>`, so that it reaches any server unchanged: before a
plain prompt, at the start of the last user message of a conversation, or through the template variable
`thinking_budget`. The rungs of the ladder are kept in the model's config, as `budgets`.
"""

import math
import random
import re
from collections.abc import Sequence

from timecost.errors import UserError
from timecost.prompt_tokens import add_tokens, check_single, with_token


def budget_token(budget: int | None) -> str:
    """The token of a rung, in thinking tokens; of no bound for None."""
    return f"<|budget_{'inf' if budget is None else budget}|>"


def parse_budget(text: str | int) -> int | None:
    """A budget as a user writes it: a number of thinking tokens, 0 for none, `inf` for no bound (None).

    Raises UserError for anything else.
    """
    if str(text).lower() in ("inf", "none", "-1"):
        return None
    try:
        budget = int(text)
    except ValueError:
        budget = -1
    if budget < 0:
        raise UserError(f"a budget is a number of thinking tokens, 0 for no thinking, or inf, not '{text}'")
    return budget


def check_rungs(rungs: Sequence[int]) -> tuple[int, ...]:
    """The rungs as a tuple. Raises UserError unless they are whole numbers that rise from at least 1."""
    rungs = tuple(rungs)
    whole = all(isinstance(rung, int) and rung >= 1 for rung in rungs)
    if not rungs or not whole or list(rungs) != sorted(set(rungs)):
        raise UserError(f"budgets must be whole numbers of tokens that rise, such as [64, 128, 256], not {list(rungs)}")
    return rungs


def smallest_rung(num_thinking: int, rungs: Sequence[int]) -> int | None:
    """The smallest rung that holds `num_thinking` tokens, None when none does: a trace's label in hindsight."""
    return min((rung for rung in rungs if num_thinking <= rung), default=None)


def round_down(budget: int | None, rungs: Sequence[int]) -> int | None:
    """The largest rung within a budget, so that a bound is never loosened; None and 0 stay what they are.

    Raises UserError for a budget below the lowest rung.
    """
    if not budget:
        return budget
    within = [rung for rung in rungs if rung <= budget]
    if not within:
        raise UserError(
            f"a budget of {budget} thinking tokens is below the model's lowest rung: it knows "
            f"{', '.join(map(str, rungs))}, inf, and 0 for no thinking"
        )
    return max(within)


def ladder_of(config, tokenizer) -> tuple[int, ...]:
    """The rungs that a model was trained on. Raises UserError when it has none, or its tokenizer splits a token."""
    rungs = getattr(config, "budgets", None)
    if not rungs:
        raise UserError("the model has no budget tokens: add them with timecost.budget.add_budget_tokens and train it")
    check_single(tokenizer, [budget_token(rung) for rung in (*rungs, None)])
    return check_rungs(rungs)


def rungs_in(tokenizer) -> list[int]:
    """The rungs whose tokens a tokenizer has: all that is left of a ladder beside an adapter, which has no config."""
    found = (re.fullmatch(r"<\|budget_(\d+)\|>", token) for token in tokenizer.get_added_vocab())
    return sorted(int(match[1]) for match in found if match)


def add_budget_tokens(model, tokenizer, rungs: Sequence[int]) -> list[int]:
    """Give a model the tokens of a ladder, see `prompt_tokens.add_tokens`; the template variable is `thinking_budget`.

    Raises UserError for rungs that do not rise.
    """
    rungs = check_rungs(rungs)
    ids = add_tokens(model, tokenizer, [budget_token(rung) for rung in (*rungs, None)], "thinking_budget", "budget")
    model.config.budgets = list(rungs)
    return ids


def with_budget(prompt, budget: int | None):
    """A copy of a prompt, text or messages, that asks for a budget. 0 is not said in the prompt: see `generation`."""
    return with_token(prompt, budget_token(budget))


def draw_budget(
    prompt, rungs: Sequence[int], inf_share: float, *key, prior: Sequence[float] | None = None
) -> tuple[object, int | None]:
    """The prompt of a group in training with the budget that it asks for, the same wherever `key` is the same.

    With probability `inf_share` no bound, said by its token or, as often, by none; else a rung, each as likely, or as
    the weights in `prior` have it.
    """
    rng = random.Random(":".join(map(str, key)))
    if rng.random() >= inf_share:
        budget = rng.choices(list(rungs), prior)[0]
        return with_budget(prompt, budget), budget
    return (with_budget(prompt, None) if rng.random() < 0.5 else prompt), None


def open_rungs(rungs: Sequence[int], progress: float) -> Sequence[int]:
    """The rungs that a curriculum has reached: the largest alone at progress 0, all of them from 1 on."""
    return rungs[-max(1, math.ceil(min(progress, 1.0) * len(rungs))) :]
