"""Tokens by which a prompt asks for something: how a model gets them, and how they get into a prompt.

A request stands before a plain prompt or at the start of the last user message of a conversation, as one special
token, so that it reaches any server unchanged; or a variable of the chat template puts it there.
"""

import re
import warnings

from timecost.errors import UserError

# Rewrites the messages of any chat template; VARIABLE and NAME are filled in.
TEMPLATE_PREFIX = """\
{%- if VARIABLE is defined and VARIABLE is not none -%}
{%- set rewritten = namespace(messages=[], last=-1) -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}{%- set rewritten.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
{%- if loop.index0 == rewritten.last -%}
{%- set content = '<|NAME_' ~ VARIABLE ~ '|>' -%}
{%- if message.content is string -%}
{%- set content = content ~ message.content -%}
{%- else -%}
{%- set content = [{'type': 'text', 'text': content}] + message.content -%}
{%- endif -%}
{%- set rewritten.messages = rewritten.messages + [dict(message, content=content)] -%}
{%- else -%}
{%- set rewritten.messages = rewritten.messages + [message] -%}
{%- endif -%}
{%- endfor -%}
{%- set messages = rewritten.messages -%}
{%- endif -%}
"""


def with_token(prompt, token: str):
    """A copy of a prompt, text or messages, that opens with a token. UserError for a conversation without a user."""
    if isinstance(prompt, str):
        return token + prompt
    last = max((i for i, message in enumerate(prompt) if message["role"] == "user"), default=None)
    if last is None:
        raise UserError("a conversation without a user message cannot carry a budget or an effort")
    content = prompt[last]["content"]
    content = token + content if isinstance(content, str) else [{"type": "text", "text": token}, *content]
    return [{**m, "content": content} if i == last else m for i, m in enumerate(prompt)]


def add_tokens(model, tokenizer, tokens: list[str], variable: str, name: str) -> list[int]:
    """Give a model special tokens `<|name_...|>`; returns their ids, which LoRA takes as `trainable_token_indices`.

    Adds them to the tokenizer, rows to the embeddings (each starts as the mean of the others), and `variable` to the
    chat template; warns where that has a variable of the name. Twice is once.
    """
    import torch

    num_before = len(tokenizer)
    tokenizer.add_special_tokens({"extra_special_tokens": [*tokenizer.extra_special_tokens, *tokens]})
    if tokenizer.chat_template and f"<|{name}_' ~ {variable}" not in tokenizer.chat_template:
        prefix = TEMPLATE_PREFIX.replace("VARIABLE", variable).replace("NAME", name)
        if re.search(rf"\b{variable}\b", tokenizer.chat_template):
            warnings.warn(f"the chat template has a variable {variable} of its own: ask by the token", stacklevel=3)
        else:
            tokenizer.chat_template = prefix + tokenizer.chat_template
    ids = tokenizer.convert_tokens_to_ids(tokens)
    new = [token_id for token_id in ids if token_id >= num_before]
    with torch.no_grad():
        tables = (model.get_input_embeddings, model.get_output_embeddings)
        means = [table().weight[:num_before].mean(0, keepdim=True) for table in tables]
        if len(tokenizer) > model.get_input_embeddings().num_embeddings:  # many models have rows to spare
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        for table, mean in zip(tables, means, strict=True):
            table().weight[new] = mean
    return ids


def check_single(tokenizer, tokens: list[str]) -> None:
    """Raises UserError for a token that the tokenizer splits or does not know."""
    for token in tokens:
        ids = tokenizer.encode(token, add_special_tokens=False)
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            raise UserError(f"the tokenizer does not know {token} as one token: take the one saved with the model")


def encode_prompt(tokenizer, prompt: str | list[dict], **template_kwargs) -> list[int]:
    """Token ids of a prompt: plain text, or messages through the chat template."""
    if isinstance(prompt, str):
        return tokenizer(prompt)["input_ids"]
    options = {"add_generation_prompt": True, "return_dict": True, **template_kwargs}
    return tokenizer.apply_chat_template(prompt, **options)["input_ids"]


def opened_thinking(tokenizer, prompt: str | list[dict], think_start: str = "<think>", **template_kwargs) -> str:
    """`think_start` where the chat template ends the prompt with it, as those of DeepSeek-R1 do, else nothing.

    Before the completion it tells a verifier that what never closes is no answer. A tokenizer that parses responses
    itself needs no telling.
    """
    parses = getattr(tokenizer, "response_schema", None) or getattr(tokenizer, "response_template", None)
    if isinstance(prompt, str) or parses:
        return ""
    return think_start if leaves_open(tokenizer, prompt, think_start, **template_kwargs) else ""


def leaves_open(
    tokenizer, prompt: str | list[dict], think_start: str, think_end: str = "</think>", **template_kwargs
) -> bool:
    """Whether a completion begins within a thought: the chat template has just opened one, or a text has not closed
    its last."""
    if isinstance(prompt, str):
        return think_start in prompt.rpartition(think_end)[2]
    text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False, **template_kwargs)
    return text.rstrip().endswith(think_start)


def single_id(tokenizer, token: str) -> int | None:
    """Id of `token`, None when the tokenizer does not know it as one token."""
    ids = tokenizer.encode(token, add_special_tokens=False)
    return ids[0] if len(ids) == 1 and ids[0] != tokenizer.unk_token_id else None


def check_decodable(tokenizer, token: str) -> None:
    """Raises UserError where decoded text lacks `token`, a special one: no verifier could tell thought from answer."""
    found = single_id(tokenizer, token)
    if found is not None and token not in tokenizer.decode([found], skip_special_tokens=True):
        raise UserError(
            f"{token!r} is a special token of the tokenizer, so that decoded text lacks it and a verifier would read "
            'the thinking as the answer: set "special": false for it in tokenizer.json and tokenizer_config.json'
        )


def think_end_id(tokenizer, token: str) -> int:
    """Id of the token that ends the thinking. Raises UserError when the tokenizer does not know it as one token, or
    leaves it out of decoded text."""
    if (found := single_id(tokenizer, token)) is None:
        raise UserError(
            f"the tokenizer has no token {token!r} that ends the thinking: add it to the tokenizer and resize the "
            "model's embeddings, or name the model's own with think_end"
        )
    check_decodable(tokenizer, token)
    return found
