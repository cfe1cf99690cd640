"""Tokens by which a prompt asks for something, on a tiny Qwen3 and its chat template."""

import pytest
from conftest import build_chat_tokenizer

from timecost.errors import UserError
from timecost.prompt_tokens import add_tokens, check_single, opened_thinking, think_end_id, with_token

CHAT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]


def test_a_prompt_asks_as_text_or_in_the_last_user_message():
    assert with_token("1+1=", "<|x_1|>") == "<|x_1|>1+1="
    assert [m["content"] for m in with_token(CHAT, "<|x_1|>")] == ["a", "b", "<|x_1|>c"]
    assert CHAT[2]["content"] == "c"
    parts = [{"role": "user", "content": [{"type": "text", "text": "c"}]}]
    assert with_token(parts, "<|x_1|>")[0]["content"] == [{"type": "text", "text": "<|x_1|>"}, *parts[0]["content"]]
    with pytest.raises(UserError, match="without a user message"):
        with_token(CHAT[1:2], "<|x_1|>")


def test_a_template_may_open_the_thinking():
    tokenizer = build_chat_tokenizer()
    assert opened_thinking(tokenizer, CHAT) == "" == opened_thinking(tokenizer, "1+1=<think>")
    tokenizer.chat_template += "{% if add_generation_prompt %}<think>\n{% endif %}"
    assert opened_thinking(tokenizer, CHAT) == "<think>"
    tokenizer.chat_template += "{% if not enable_thinking %}</think>{% endif %}"
    assert opened_thinking(tokenizer, CHAT, enable_thinking=False) == ""


def test_the_end_of_thinking_stays_in_decoded_text():
    tokenizer = build_chat_tokenizer()
    assert tokenizer.decode([think_end_id(tokenizer, "</think>")]) == "</think>"
    with pytest.raises(UserError, match="no token '</thought>'"):
        think_end_id(tokenizer, "</thought>")
    tokenizer.add_special_tokens({"extra_special_tokens": ["</think>"]})
    with pytest.raises(UserError, match="a verifier would read the thinking as the answer"):
        think_end_id(tokenizer, "</think>")


def test_two_kinds_of_tokens_stand_side_by_side(tiny_qwen3):
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_qwen3), build_chat_tokenizer()
    first = add_tokens(model, tokenizer, ["<|x_1|>", "<|x_2|>"], "ask_x", "x")
    second = add_tokens(model, tokenizer, ["<|y_a|>"], "ask_y", "y")
    assert len({*first, *second}) == 3 and model.get_input_embeddings().num_embeddings == len(tokenizer)
    check_single(tokenizer, ["<|x_1|>", "<|y_a|>"])
    with pytest.raises(UserError, match="does not know <|z|> as one token".replace("|", r"\|")):
        check_single(tokenizer, ["<|z|>"])
    text = tokenizer.apply_chat_template(CHAT, tokenize=False, ask_x=2, ask_y="a")
    assert "<|y_a|><|x_2|>c" in text or "<|x_2|><|y_a|>c" in text
    assert "<|" not in tokenizer.apply_chat_template(CHAT, tokenize=False).replace("<|im_", "")


def test_a_variable_of_the_template_keeps_its_meaning(tiny_qwen3):
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_qwen3), build_chat_tokenizer()
    tokenizer.chat_template = own = tokenizer.chat_template + "{{ reasoning_effort }}{{ ask_x }}"
    with pytest.warns(UserWarning, match="a variable ask_x of its own"):
        add_tokens(model, tokenizer, ["<|x_1|>"], "ask_x", "x")
    assert tokenizer.chat_template == own
    add_tokens(model, tokenizer, ["<|effort_low|>"], "effort", "effort")
    for _ in range(2):
        assert "<|effort_low|>c" in tokenizer.apply_chat_template(CHAT, tokenize=False, effort="low")
        add_tokens(model, tokenizer, ["<|effort_low|>"], "effort", "effort")


def test_the_template_takes_messages_in_parts(tiny_qwen3):
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_qwen3), build_chat_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
    add_tokens(model, tokenizer, ["<|x_1|>"], "ask_x", "x")
    parts = [{"role": "user", "content": [{"type": "text", "text": "c"}]}]
    assert tokenizer.apply_chat_template(parts, tokenize=False, ask_x=1) == "<|x_1|>c"
