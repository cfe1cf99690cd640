"""Effort: tokens that ask for more or less thinking without naming a number.

Each name, such as low, medium, high, stands for a time elasticity: what time was worth in the training of the prompts
that carried its token, `<|effort_low|>`. The model's config keeps them, as `efforts`.
"""

import random
import re

from timecost.errors import UserError, nearest
from timecost.prompt_tokens import add_tokens, check_single, with_token


def effort_token(name: str) -> str:
    return f"<|effort_{name}|>"


def check_efforts(efforts) -> dict[str, float]:
    """Names and elasticities. Raises UserError unless they are words and numbers of at least 0."""
    fine = isinstance(efforts, dict) and efforts and all(
        re.fullmatch(r"[a-z]+", str(name)) and isinstance(value, int | float) and value >= 0
        for name, value in efforts.items()
    )  # fmt: skip
    if not fine:
        raise UserError(
            f"efforts must map words to elasticities of at least 0, such as {{low: 0.2, high: 0}}: {efforts}"
        )
    return {name: float(value) for name, value in efforts.items()}


def efforts_of(config, tokenizer) -> dict[str, float | None]:
    """The efforts that a model was trained on. Raises UserError when it has none, or its tokenizer splits a token."""
    efforts = getattr(config, "efforts", None)
    if not efforts:
        raise UserError(
            "the model has no effort tokens: `timecost train` with `efforts` adds them, in Python "
            "timecost.effort.add_effort_tokens does"
        )
    check_single(tokenizer, [effort_token(name) for name in efforts])
    return dict(efforts)


def efforts_in(tokenizer) -> dict[str, None]:
    """The efforts whose tokens a tokenizer has: all that is left of them beside an adapter, which has no config."""
    found = (re.fullmatch(r"<\|effort_([a-z]+)\|>", token) for token in tokenizer.get_added_vocab())
    return {match[1]: None for match in found if match}


def add_effort_tokens(model, tokenizer, efforts: dict[str, float]) -> list[int]:
    """Give a model the tokens of its efforts, see `prompt_tokens.add_tokens`; the template variable is `effort`."""
    efforts = check_efforts(efforts)
    ids = add_tokens(model, tokenizer, [effort_token(name) for name in efforts], "effort", "effort")
    model.config.efforts = efforts
    return ids


def with_effort(prompt, name: str, efforts):
    """A copy of a prompt that asks for an effort. Raises UserError for one that the model does not know."""
    if name not in efforts:
        raise UserError(f"unknown effort '{name}'{nearest(name, efforts)}: the model knows {', '.join(efforts)}")
    return with_token(prompt, effort_token(name))


def draw_effort(prompt, efforts: dict[str, float], *key) -> tuple[object, float]:
    """The prompt of a group in training with the effort that it asks for, and its elasticity; a function of `key`."""
    name = random.Random(":".join(map(str, ("effort", *key)))).choice(list(efforts))
    return with_token(prompt, effort_token(name)), efforts[name]
