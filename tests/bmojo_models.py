"""Tiny B'MOJO models for tests."""

import torch

from timecost.models.bmojo import BMojoConfig, BMojoForCausalLM


def tiny(seed: int = 0, dtype=torch.float32, spread: float = 0.3, **fields) -> BMojoForCausalLM:
    """2 layers, 32 wide, window 4, 3 eidetic tokens; in evaluation mode. Large weights, so that differences show."""
    defaults = {
        "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "sliding_window": 4, "eidetic_size": 3, "ssm_head_dim": 16, "ssm_state_size": 8,
        "ssm_chunk_size": 6, "initializer_range": spread,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BMojoForCausalLM(BMojoConfig(**{**defaults, **fields}))
        for parameter in model.parameters():  # nothing stays at a value that hides a mistake
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model.to(dtype).eval()


def tokens(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, 50, (batch, length), generator=torch.Generator().manual_seed(seed))


def in_parts(model, input_ids, sizes, attention_mask=None):
    """Logits of all tokens, given to a cache in parts of these sizes, and the cache."""
    cache, logits, begin = None, [], 0
    for size in sizes:
        mask = None if attention_mask is None else attention_mask[:, : begin + size]
        part = input_ids[:, begin : begin + size]
        out = model(part, attention_mask=mask, past_key_values=cache, use_cache=True)
        cache, begin = out.past_key_values, begin + size
        logits.append(out.logits)
    assert begin == input_ids.shape[1]
    return torch.cat(logits, 1), cache
