"""Budgets of thinking: how a user writes one, which rung it is, and how it gets into model, tokenizer and prompt."""

import pytest
from conftest import build_chat_tokenizer

from timecost.budget import (
    add_budget_tokens,
    budget_token,
    check_rungs,
    draw_budget,
    ladder_of,
    open_rungs,
    parse_budget,
    round_down,
    smallest_rung,
    with_budget,
)
from timecost.errors import UserError

RUNGS = (8, 16, 32, 64)


def test_what_a_user_may_write():
    assert [parse_budget(text) for text in ("64", 64, "0", "inf", "-1")] == [64, 64, 0, None, None]
    for text in ("many", "-5", "1.5", ""):
        with pytest.raises(UserError, match="number of thinking tokens"):
            parse_budget(text)


def test_a_bound_is_rounded_down_and_never_loosened():
    assert [round_down(budget, RUNGS) for budget in (8, 15, 16, 1000, None, 0)] == [8, 8, 16, 64, None, 0]
    with pytest.raises(UserError, match="below the model's lowest rung: it knows 8, 16, 32, 64, inf"):
        round_down(7, RUNGS)


def test_the_label_of_a_trace_is_the_smallest_rung_that_holds_it():
    assert [smallest_rung(n, RUNGS) for n in (0, 8, 9, 64, 65)] == [8, 8, 16, 64, None]


@pytest.mark.parametrize("rungs", [(), (16, 8), (8, 8), (0, 8), (8, 16.5)])
def test_rungs_rise(rungs):
    with pytest.raises(UserError, match="whole numbers of tokens that rise"):
        check_rungs(rungs)


def test_a_prompt_asks_as_text_or_in_the_last_user_message():
    assert with_budget("1+1=", 8) == "<|budget_8|>1+1="
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert [m["content"] for m in with_budget(chat, None)] == ["a", "b", "<|budget_inf|>c"]
    assert chat[2]["content"] == "c"
    with pytest.raises(UserError, match="without a user message"):
        with_budget(chat[1:2], 8)


def test_a_group_draws_one_budget_and_every_process_the_same():
    draws = [draw_budget("p", RUNGS, 0.25, 0, step, 3) for step in range(400)]
    assert draws == [draw_budget("p", RUNGS, 0.25, 0, step, 3) for step in range(400)]
    budgets = [budget for _, budget in draws]
    assert all(60 <= budgets.count(rung) <= 90 for rung in RUNGS)
    prompts = {prompt for prompt, budget in draws if budget is None}
    assert prompts == {"p", "<|budget_inf|>p"}


def test_a_prior_and_a_curriculum_of_rungs():
    budgets = [draw_budget("p", RUNGS, 0.0, step, prior=[0, 1, 0, 3])[1] for step in range(400)]
    assert set(budgets) == {16, 64} and 70 <= budgets.count(16) <= 130
    assert [tuple(open_rungs(RUNGS, share)) for share in (0.0, 0.25, 0.3, 0.7, 1.0, 9.0)] == [
        (64,), (64,), (32, 64), (16, 32, 64), RUNGS, RUNGS
    ]  # fmt: skip


def test_a_model_learns_the_tokens_of_a_ladder(tiny_qwen3):
    import torch
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_qwen3), build_chat_tokenizer()
    with pytest.raises(UserError, match="the model has no budget tokens"):
        ladder_of(model.config, tokenizer)
    before = model.get_input_embeddings().weight.detach().clone()
    ids = add_budget_tokens(model, tokenizer, RUNGS)
    assert add_budget_tokens(model, tokenizer, RUNGS) == ids
    assert ladder_of(model.config, tokenizer) == RUNGS
    assert [tokenizer.encode(budget_token(rung)) for rung in (*RUNGS, None)] == [[token_id] for token_id in ids]
    after = model.get_input_embeddings().weight.detach()
    torch.testing.assert_close(after[: len(before)], before, rtol=0, atol=0)
    torch.testing.assert_close(after[ids], before.mean(0).expand(len(ids), -1))
    assert tokenizer.decode(tokenizer("<|budget_8|>x")["input_ids"], skip_special_tokens=True) == "x"


def test_a_tokenizer_of_another_model_is_refused(tiny_qwen3):
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(tiny_qwen3)
    config.budgets = list(RUNGS)
    with pytest.raises(UserError, match=r"does not know <\|budget_8\|> as one token"):
        ladder_of(config, build_chat_tokenizer())


def test_the_template_variable_says_what_the_prompt_says(tiny_qwen3):
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_qwen3), build_chat_tokenizer()
    add_budget_tokens(model, tokenizer, RUNGS)
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "1+1?"}]
    options = {"tokenize": False, "add_generation_prompt": True}
    asked = tokenizer.apply_chat_template(chat, thinking_budget=16, **options)
    assert asked == tokenizer.apply_chat_template(with_budget(chat, 16), **options)
    assert "<|budget_16|>1+1?" in asked
    assert "budget" not in tokenizer.apply_chat_template(chat, **options)
