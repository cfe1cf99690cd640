"""Probing a model on problems: what a tokenizer must have. The probes themselves: test_value_probes.py."""

import pytest

from timecost.errors import UserError
from timecost.probing import probe_problems
from timecost.tasks import get_task


def test_a_thought_that_cannot_be_closed_or_told_from_the_answer(tiny_arithmetic):
    from timecost.loading import load_model_to_use

    model, tokenizer = load_model_to_use(tiny_arithmetic)
    task = get_task("arithmetic")
    problems = list(task.load("test"))[:2]
    assert len(probe_problems(model, tokenizer, task, problems, max_thinking_tokens=8)) > 0
    tokenizer.add_special_tokens({"extra_special_tokens": [*tokenizer.extra_special_tokens, "</think>"]})
    with pytest.raises(UserError, match="'</think>' is a special token"):
        probe_problems(model, tokenizer, task, problems)
