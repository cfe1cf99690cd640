"""Where a step of thinking ends."""

from timecost.tasks.arithmetic import build_tokenizer
from timecost.value.steps import StepRule, step_boundaries, step_rule


def test_a_step_ends_behind_its_token_and_thinking_starts_with_a_boundary():
    assert step_boundaries([9, 1, 8, 9, 1, 8], StepRule((1,))) == [0, 2, 5]
    assert step_boundaries([9, 1, 8, 9, 1, 8], StepRule((1,), offset=1)) == [0, 3, 6]
    assert step_boundaries([9] * 5, StepRule(every=2)) == [0, 2, 4]


def test_the_rule_of_a_tokenizer(tiny_qwen3):
    from transformers import AutoTokenizer

    arithmetic = build_tokenizer()
    assert step_rule(arithmetic, ("=", 1)) == StepRule((arithmetic.convert_tokens_to_ids("="),), 1)
    assert step_rule(arithmetic) == StepRule(every=16), "a tokenizer without line ends"
    chat = AutoTokenizer.from_pretrained(tiny_qwen3)
    assert chat.decode(step_rule(chat).token_ids[0]) == "\n"
