"""Efforts: names that stand for elasticities, in the prompt and in training."""

import pytest
from conftest import build_chat_tokenizer

from timecost.effort import (
    add_effort_tokens,
    check_efforts,
    draw_effort,
    effort_token,
    efforts_in,
    efforts_of,
    with_effort,
)
from timecost.errors import UserError

EFFORTS = {"low": 0.2, "high": 0.0}


@pytest.mark.parametrize("efforts", [{}, None, ["low"], {"low": -1}, {"LOW 1": 0.1}, {"low": "much"}])
def test_efforts_map_words_to_elasticities(efforts):
    assert check_efforts({"low": 1}) == {"low": 1.0}
    with pytest.raises(UserError, match="must map words to elasticities"):
        check_efforts(efforts)


def test_a_model_learns_efforts_and_its_tokenizer_alone_tells_their_names(tiny_qwen3):
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_qwen3), build_chat_tokenizer()
    with pytest.raises(UserError, match="no effort tokens"):
        efforts_of(model.config, tokenizer)
    add_effort_tokens(model, tokenizer, EFFORTS)
    assert efforts_of(model.config, tokenizer) == EFFORTS
    assert set(efforts_in(tokenizer)) == set(EFFORTS)
    chat = [{"role": "user", "content": "1+1?"}]
    asked = tokenizer.apply_chat_template(chat, tokenize=False, effort="low")
    assert asked == tokenizer.apply_chat_template(with_effort(chat, "low", EFFORTS), tokenize=False)


def test_an_unknown_effort_names_the_known_ones():
    assert with_effort("1+1=", "high", EFFORTS) == "<|effort_high|>1+1="
    with pytest.raises(UserError, match="unknown effort 'hihg', did you mean 'high'.*the model knows low, high"):
        with_effort("1+1=", "hihg", EFFORTS)


def test_a_group_draws_one_effort_and_every_process_the_same():
    draws = [draw_effort("p", EFFORTS, 0, step) for step in range(100)]
    assert draws == [draw_effort("p", EFFORTS, 0, step) for step in range(100)]
    assert set(draws) == {(effort_token(name) + "p", value) for name, value in EFFORTS.items()}
    assert 30 < sum(value == 0 for _, value in draws) < 70
