"""Batched sampling from a causal language model: the first step of an evaluation.

The batch is the unit of work: the plan of batches is a pure function of the whole list of prompts, and each row draws
from a stream of its own (`timecost.counter_sampler`). The same list, batch size, seed, dtype, number of threads and
machine therefore give the same completions, however the batches are spread over processes and interrupted.
"""

from collections.abc import Callable
from dataclasses import dataclass

from timecost.counter_sampler import CounterSampler, stream_key
from timecost.errors import UserError
from timecost.generation import end_ids, plain_sampling


@dataclass(frozen=True)
class Completion:
    """What the model wrote after a prompt: token ids up to and including the end of sequence, if it came."""

    completion_ids: list[int]
    finished: bool  # the end of sequence was seen before max_new_tokens
    stop_cause: str | None = None  # value or declined, where a value head stopped the thinking
    looks: int = 0  # closing tokens that it looked at


def plan_batches(lengths: list[int], batch_size: int) -> list[list[int]]:
    """Indices of the prompts in each batch: neighbours in length, the longest first, ties in the given order.

    The longest batch comes first, so that a lack of memory shows at once and the time left is not underestimated.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def sample_batch(
    model, tokenizer, prompts: list[list[int]], keys: list[int], *, max_new_tokens: int, temperature: float = 1.0,
    guard: Callable | None = None,
) -> list[Completion]:  # fmt: skip
    """One completion for each prompt of token ids; together they are one batch, padded on the left.

    `keys` are one stream of uniform numbers for each row, from `stream_key`. Temperature 0 takes the likeliest token.
    `guard(prompt_length)` gives a logits processor to apply before a token is drawn, such as a `BudgetGuard`, for the
    padded length of the prompts. Nothing else shapes the distribution: no top-k, no top-p, whatever the model's
    generation_config.json says. Raises UserError when the model's logits are not finite, and when memory is short.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    eos_ids = end_ids(model, tokenizer)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos_ids[0]
    width = max(map(len, prompts))
    input_ids = torch.full((len(prompts), width), pad_id)
    attention_mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(prompts):
        input_ids[row, width - len(ids) :] = torch.tensor(ids)
        attention_mask[row, width - len(ids) :] = 1
    processors = [] if guard is None else [guard(width)]
    sampler = CounterSampler(keys, width, temperature) if temperature > 0 else None
    config = GenerationConfig(do_sample=False, eos_token_id=eos_ids, pad_token_id=pad_id, max_new_tokens=max_new_tokens)
    was_training = model.training
    model.eval()
    try:
        with plain_sampling(model), torch.inference_mode():
            output = model.generate(
                input_ids=input_ids.to(model.device),
                attention_mask=attention_mask.to(model.device),
                generation_config=config,
                logits_processor=LogitsProcessorList(processors + ([sampler] if sampler else [])),
            )
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{len(prompts)} completions of {max_new_tokens} tokens do not fit into memory: lower --batch_size or "
            "--max_completion_length"
        ) from error
    finally:
        model.train(was_training)
    if sampler is not None and sampler.broken:
        raise UserError("the model's logits are not finite: its weights are broken, or it needs another dtype")
    return [trim(ids, eos_ids) for ids in output[:, width:].tolist()]


def sample_completions(
    model,
    tokenizer,
    prompts: list[list[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 256,
    prefixes: list[list[int]] | None = None,
) -> list[Completion]:
    """Sample one completion for each prompt of token ids, in the order of `prompts`; see `sample_batch`.

    Repeat a prompt to sample it more than once. `prefixes` are token ids that open the completions: they are written
    behind the prompt and count as completion, also toward `max_new_tokens`.
    """
    prefixes = prefixes or [[]] * len(prompts)
    inputs = [prompt + prefix for prompt, prefix in zip(prompts, prefixes, strict=True)]
    eos_ids = end_ids(model, tokenizer)
    completions: list[Completion | None] = [None] * len(prompts)
    for batch in plan_batches([len(ids) for ids in inputs], batch_size):
        written = sample_batch(
            model, tokenizer, [inputs[i] for i in batch], [stream_key(seed, i) for i in batch], temperature=temperature,
            max_new_tokens=max_new_tokens - min(len(prefixes[i]) for i in batch),
        )  # fmt: skip
        for i, completion in zip(batch, written, strict=True):
            completions[i] = trim((prefixes[i] + completion.completion_ids)[:max_new_tokens], eos_ids)
    return completions


def trim(completion_ids: list[int], eos_ids: list[int]) -> Completion:
    """Cut what follows the first end of sequence, which stays."""
    for position, token in enumerate(completion_ids):
        if token in eos_ids:
            return Completion(completion_ids[: position + 1], True)
    return Completion(completion_ids, False)
