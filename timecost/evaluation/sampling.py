"""Batched sampling from a causal language model: the first step of an evaluation.

The batch is the unit of work: the plan of batches is a pure function of the whole list of prompts, and each batch
draws from a generator seeded with (seed, batch index). The same list, batch size, seed, dtype, number of threads and
machine therefore give the same completions.
"""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Completion:
    """What the model wrote after a prompt: token ids up to and including the end of sequence, if it came."""

    completion_ids: list[int]
    finished: bool  # the end of sequence was seen before max_new_tokens


def plan_batches(lengths: list[int], batch_size: int) -> list[list[int]]:
    """Indices of the prompts in each batch: neighbours in length, the longest first, ties in the given order.

    The longest batch comes first, so that a lack of memory shows at once and the time left is not underestimated.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def batch_seed(seed: int, batch: int) -> int:
    """Seed of the generator of one batch: 63 bits of a hash of (seed, batch index)."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{batch}".encode()).digest()[:8]) >> 1


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
    progress: str | None = None,
) -> list[Completion]:
    """Sample one completion for each prompt of token ids, in the order of `prompts`.

    Repeat a prompt to sample it more than once. `prefixes` are token ids that open the completions: they are written
    behind the prompt and count as completion, also toward `max_new_tokens`. Temperature 0 takes the likeliest token.
    Nothing else shapes the distribution: no top-k, no top-p, whatever the model's generation_config.json says.
    `progress` names the bar with the time left; None shows none. The state of torch's global generator is kept.
    """
    import torch
    from tqdm import tqdm
    from transformers import GenerationConfig

    prefixes = prefixes or [[]] * len(prompts)
    inputs = [prompt + prefix for prompt, prefix in zip(prompts, prefixes, strict=True)]
    eos_ids = end_of_sequence_ids(model, tokenizer)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos_ids[0]
    sampled = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    config = GenerationConfig(
        **(sampled if temperature > 0 else {"do_sample": False}), eos_token_id=eos_ids, pad_token_id=pad_id
    )
    completions: list[Completion | None] = [None] * len(prompts)
    devices = [model.device] if model.device.type == "cuda" else []
    own_config, was_training = model.generation_config, model.training
    model.generation_config = GenerationConfig()  # `generate` would fill what `config` leaves open from the model's own
    model.eval()
    # disable=None: no bar unless stderr is a terminal
    bar = tqdm(total=len(prompts), desc=progress, unit="completion", disable=None if progress else True, leave=False)
    try:
        with bar, torch.random.fork_rng(devices), torch.inference_mode():
            for index, batch in enumerate(plan_batches([len(ids) for ids in inputs], batch_size)):
                torch.manual_seed(batch_seed(seed, index))
                width = max(len(inputs[i]) for i in batch)
                input_ids = torch.full((len(batch), width), pad_id)
                attention_mask = torch.zeros_like(input_ids)
                for row, i in enumerate(batch):
                    input_ids[row, width - len(inputs[i]) :] = torch.tensor(inputs[i])
                    attention_mask[row, width - len(inputs[i]) :] = 1
                config.max_new_tokens = max_new_tokens - min(len(prefixes[i]) for i in batch)
                output = model.generate(
                    input_ids=input_ids.to(model.device),
                    attention_mask=attention_mask.to(model.device),
                    generation_config=config,
                )
                for i, ids in zip(batch, output[:, width:].tolist(), strict=True):
                    completions[i] = trim((prefixes[i] + ids)[:max_new_tokens], eos_ids)
                bar.update(len(batch))
    finally:
        model.generation_config = own_config
        model.train(was_training)
    return completions


def end_of_sequence_ids(model, tokenizer) -> list[int]:
    """Token ids that end a completion: the tokenizer's, and those that the model's generation config adds."""
    ids = model.generation_config.eos_token_id
    ids = ids if isinstance(ids, list) else [ids]
    return sorted({i for i in [tokenizer.eos_token_id, *ids] if i is not None})


def trim(completion_ids: list[int], eos_ids: list[int]) -> Completion:
    """Cut what follows the first end of sequence, which stays."""
    for position, token in enumerate(completion_ids):
        if token in eos_ids:
            return Completion(completion_ids[: position + 1], True)
    return Completion(completion_ids, False)
