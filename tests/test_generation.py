"""Generation within a budget. The model is untrained: left alone it thinks until its context ends."""

import pytest
import torch

from timecost.errors import UserError
from timecost.forcing import BudgetGuard
from timecost.generation import generate

PROMPTS = ["a7b-3=<think>", "a7b-3c*2d+1e-4=<think>", "a9b-8=<think>"]
THINK_END, EOS, DIGIT, THINK = 5, 2, 6, 4


@pytest.fixture(scope="module")
def loaded(tiny_arithmetic):
    from timecost.loading import load_model_to_use

    model, tokenizer = load_model_to_use(tiny_arithmetic)
    model.config.budgets = [8, 16]
    return model, tokenizer


def ask(loaded, budgets, prompts=PROMPTS, **options):
    return generate(*loaded, prompts, budgets, **{"max_answer_tokens": 4, "temperature": 0.0, **options})


def guard(bounds, written, closed=False, max_answer_tokens=2, beams=1):
    """The tokens that a guard leaves open behind one row of written tokens, and the scores."""
    guard = BudgetGuard(bounds, [closed] * len(bounds), 1, THINK_END, [EOS], [THINK], max_answer_tokens)
    rows = torch.tensor([[1, *written]] * len(bounds) * beams)
    scores = guard(rows, torch.zeros(len(rows), 36))
    return [set(torch.isfinite(row).nonzero().flatten().tolist()) for row in scores]


def test_the_guard_bars_the_end_while_thinking_and_thinking_while_answering():
    (thinking,) = guard([8], [DIGIT])
    assert thinking == set(range(36)) - {EOS}
    (answering,) = guard([8], [DIGIT, THINK_END, DIGIT])
    assert answering == set(range(36)) - {THINK_END, THINK}


def test_the_guard_closes_at_the_bound_of_each_row_and_not_after_a_natural_end():
    assert guard([2, 3, None], [DIGIT, DIGIT])[0] == {THINK_END}
    assert guard([2, 3, None], [DIGIT, DIGIT])[1] == guard([2, 3, None], [DIGIT, DIGIT])[2] == set(range(36)) - {EOS}
    assert guard([2], [THINK_END, DIGIT])[0] != {THINK_END}, "the counter must not fire inside the answer"


def test_the_guard_ends_an_answer_that_has_used_its_reserve():
    assert guard([8], [THINK_END, DIGIT, DIGIT]) == [{EOS}]
    assert guard([None], [DIGIT, DIGIT], closed=True) == [{EOS}]


def test_the_guard_counts_for_each_beam():
    assert guard([1, 8], [DIGIT], beams=2) == [{THINK_END}] * 2 + [set(range(36)) - {EOS}] * 2


def test_the_guard_lets_a_reply_end_that_need_not_think():
    guard = BudgetGuard([8, 8], [False] * 2, 1, THINK_END, [EOS], [THINK], 4, optional=[True, False])
    scores = guard(torch.tensor([[1, DIGIT]] * 2), torch.zeros(2, 36))
    assert torch.isfinite(scores[:, EOS]).tolist() == [True, False]
    scores = guard(torch.tensor([[1, DIGIT, THINK]] * 2), torch.zeros(2, 36))
    assert torch.isfinite(scores[:, EOS]).tolist() == [False, False], "it has begun to think"


def test_without_a_budget_a_model_may_answer_without_thinking(loaded):
    plain = ask(loaded, [None] * 16, ["a7b-3="] * 16, temperature=1.0, max_thinking_tokens=40)
    straight = [reply for reply in plain if not {THINK, THINK_END} & set(reply.completion_ids)]
    assert any(reply.answer for reply in straight)
    assert all((reply.thinking_tokens, reply.thinking) == (0, "") for reply in straight)
    assert {reply.stop_cause for reply in straight} == {"natural"}
    opened = ask(loaded, [None] * 16, ["a7b-3=<think>"] * 16, temperature=1.0, max_thinking_tokens=40)
    assert all(THINK_END in reply.completion_ids for reply in opened)
    beams = ask(loaded, [None] * 2, ["a7b-3=", "a7b-3=<think>"], num_beams=2, max_thinking_tokens=8)
    assert THINK_END not in beams[0].completion_ids[:9] and beams[1].thinking_tokens <= 8
    closed = ask(loaded, [None] * 16, ["1=<think>1</think>1a7b-3="] * 16, temperature=1.0, max_thinking_tokens=40)
    assert any(reply.answer and reply.thinking_tokens == 0 for reply in closed)
    unknown = ask(loaded, [None] * 16, ["a7b-3="] * 16, temperature=1.0, max_thinking_tokens=8, think_start="<thought>")
    assert all(THINK_END in reply.completion_ids for reply in unknown), "nothing tells where a thought begins"
    bounded = ask(loaded, [8] * 16, ["a7b-3="] * 16, temperature=1.0)
    assert all(THINK_END in reply.completion_ids for reply in bounded)


@pytest.mark.parametrize(
    ("prompts", "budgets", "options", "message"),
    [
        ("1+1", [8], {}, "two lists of one length"), (PROMPTS, [8], {}, "two lists of one length"),
        (PROMPTS, [8, 8, -5], {}, "not -5"), (PROMPTS, [8, 8, 2.5], {}, "not 2.5"),
        (PROMPTS, [8, 8, "inf"], {}, "or None for no bound, not 'inf'"),
        (PROMPTS, [8] * 3, {"temperature": -1.0}, "temperature is -1.0"),
    ],
)  # fmt: skip
def test_what_is_no_budget_is_told(loaded, prompts, budgets, options, message):
    with pytest.raises(UserError, match=message):
        ask(loaded, budgets, prompts, **options)


def test_no_prompts_no_replies(loaded):
    assert ask(loaded, [], []) == []


def test_what_is_forced_overrides_an_earlier_processor():
    guard = BudgetGuard([1], [False], 1, THINK_END, [EOS], [THINK], 2)
    scores = guard(torch.tensor([[1, DIGIT]]), torch.full((1, 36), -torch.inf))
    assert scores[0, THINK_END] == 0


@pytest.mark.parametrize("budget", [8, 11, 16])
def test_hard_never_overruns_and_always_answers(loaded, budget):
    for reply in ask(loaded, [budget] * 3, temperature=1.0):
        assert reply.thinking_tokens <= budget and reply.overshoot == 0
        assert 1 <= reply.answer_tokens <= 1 + 4 + 1
        assert (reply.budget, reply.rung) == (budget, 8 if budget < 16 else 16)
        assert "<think>" not in reply.answer
        assert reply.stop_cause in (("budget", "length") if reply.thinking_tokens == budget else ("natural", "length"))


def test_each_row_has_its_own_budget_whatever_stands_beside_it(loaded):
    together = ask(loaded, [8, 16, 12])
    alone = [ask(loaded, [budget], [prompt])[0] for budget, prompt in zip([8, 16, 12], PROMPTS, strict=True)]
    assert [r.completion_ids for r in together] == [r.completion_ids for r in alone]


def test_what_the_model_says_about_sampling_is_not_used(loaded):
    plain = [reply.completion_ids for reply in ask(loaded, [16] * 3, temperature=1.0)]
    own = loaded[0].generation_config
    before = own.top_p, own.repetition_penalty
    own.top_p, own.repetition_penalty = 0.1, 5.0
    try:
        assert [reply.completion_ids for reply in ask(loaded, [16] * 3, temperature=1.0)] == plain
        assert loaded[0].generation_config is own
    finally:
        own.top_p, own.repetition_penalty = before


def test_beams_keep_the_bound(loaded):
    assert all(r.thinking_tokens <= 8 and r.overshoot == 0 for r in ask(loaded, [8] * 3, num_beams=3))


def test_soft_allows_a_grace_and_none_asks_only_and_both_say_what_was_used(loaded):
    soft = ask(loaded, [8] * 3, enforce="soft")
    assert all(reply.thinking_tokens <= 10 and reply.overshoot == max(0, reply.thinking_tokens - 8) for reply in soft)
    free = ask(loaded, [8] * 3, enforce="none", max_thinking_tokens=40)
    assert any(reply.overshoot > 2 for reply in free)


def test_zero_answers_without_thinking(loaded):
    for reply in ask(loaded, [0] * 3):
        assert (reply.thinking_tokens, reply.thinking, reply.rung) == (0, "", 0)
        assert 1 <= reply.answer_tokens <= 5


def test_an_answer_that_was_cut_is_told(loaded):
    cut = ask(loaded, [8] * 3, max_answer_tokens=1)
    assert all(reply.stop_cause == "length" for reply in cut if len(reply.completion_ids) - reply.thinking_tokens > 2)
    for reply in ask(loaded, [None] * 3, max_thinking_tokens=1):
        assert reply.stop_cause == "length" and reply.thinking_tokens <= 1, "nobody had asked for a bound"


def test_a_model_without_budget_tokens_is_told_and_can_be_cut(tiny_arithmetic):
    from timecost.loading import load_model_to_use

    loaded = load_model_to_use(tiny_arithmetic)
    with pytest.raises(UserError, match="no budget tokens"):
        ask(loaded, [8] * 3)
    assert all(reply.thinking_tokens <= 5 for reply in ask(loaded, [5] * 3, condition=False))


@pytest.mark.parametrize(
    ("budgets", "options", "message"),
    [
        ([7], {}, "below the model's lowest rung"),
        ([8], {"enforce": "firm"}, "enforce is one of none, soft, hard"),
        ([8], {"max_answer_tokens": 0}, "needs a reserve"),
        ([8], {"condition": False, "enforce": "none"}, "neither said in the prompt nor enforced"),
        ([300], {}, "context of the model is too short"),
        ([None], {"max_answer_tokens": 500}, "context of the model is too short"),
        ([0], {"max_answer_tokens": 500}, "context of the model is too short"),
        ([8], {"think_end": "</thought>"}, "has no token '</thought>'"),
    ],
)
def test_options_that_contradict_each_other(loaded, budgets, options, message):
    with pytest.raises(UserError, match=message):
        ask(loaded, budgets, PROMPTS[:1], **options)


def test_a_chat_model_gets_its_budget_in_the_last_user_message(tiny_qwen3):
    from timecost.budget import add_budget_tokens
    from timecost.loading import load_model_to_use

    model, tokenizer = load_model_to_use(tiny_qwen3)
    add_budget_tokens(model, tokenizer, (8, 16))
    chat = [{"role": "user", "content": "1+1?"}]
    replies = generate(model, tokenizer, [chat, chat], [8, 0], max_answer_tokens=4)
    assert replies[0].thinking_tokens <= 8 and replies[1].thinking_tokens == 0
