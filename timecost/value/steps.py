"""Steps of thinking: where one ends, so that a head may decide there whether to think on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StepRule:
    """Where a step of thinking ends: `offset` tokens behind one of `token_ids`, and every `every` tokens if not 0."""

    token_ids: tuple[int, ...] = ()
    offset: int = 0
    every: int = 0


def step_rule(tokenizer, step_end: tuple[str, int] | None = None) -> StepRule:
    """The rule for a tokenizer. `step_end` is the text of a token and the number of tokens that still follow it.

    Without it: behind tokens that hold an empty line, else a line's end, else every 16 tokens.
    """
    if step_end is not None:
        return StepRule(tuple(tokenizer.encode(step_end[0], add_special_tokens=False)), step_end[1])
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
    for mark in ("\n\n", "\n"):
        if ids := tuple(i for i, text in enumerate(texts) if mark in text):
            return StepRule(ids)
    return StepRule(every=16)


def step_boundaries(thinking_ids: list[int], rule: StepRule) -> list[int]:
    """Numbers of thinking tokens behind which a step has ended, 0 among them, in rising order.

    The last may be all of the thinking: whether the model goes on from there is not known there.
    """
    ids = set(rule.token_ids)
    ends = [
        i
        for i in range(1, len(thinking_ids) + 1)
        if (i > rule.offset and thinking_ids[i - 1 - rule.offset] in ids) or (rule.every and i % rule.every == 0)
    ]
    return [0, *ends]
