"""The cache of a B'MOJO layer: its bytes do not grow, and what it cannot do is said."""

import pytest
import torch
from bmojo_models import tiny, tokens
from transformers import LlamaConfig, LlamaForCausalLM


@torch.no_grad()
def test_its_bytes_are_the_same_after_2_and_8_thousand_tokens():
    model = tiny(sliding_window=64, eidetic_size=16, ssm_chunk_size=64)
    sizes = []
    for length in (3, 2048, 8192):
        cache = model.model(tokens(1, length), use_cache=True).past_key_values
        model.model(tokens(1, 1), past_key_values=cache)
        sizes.append([layer.num_bytes() for layer in cache.layers])
    assert sizes[0] == sizes[1] == sizes[2] and sizes[0][0] > 0


@torch.no_grad()
def test_rows_can_be_reordered_repeated_and_selected():
    model, input_ids = tiny(), tokens(3, 14)
    mask = torch.ones(3, 14, dtype=torch.long)
    mask[0, :3] = 0
    rows = torch.tensor([2, 0, 0])

    def continued(change, index):
        cache = model(input_ids, attention_mask=mask, use_cache=True).past_key_values
        change(cache)
        new = torch.cat([mask[index], torch.ones(len(index), 1, dtype=torch.long)], 1)
        return model(tokens(3, 1)[index], attention_mask=new, past_key_values=cache).logits

    plain = continued(lambda cache: None, torch.arange(3))
    torch.testing.assert_close(continued(lambda cache: cache.reorder_cache(rows), rows), plain[rows])
    repeated = torch.arange(3).repeat_interleave(2)
    torch.testing.assert_close(continued(lambda c: c.batch_repeat_interleave(2), repeated), plain[repeated])
    chosen = torch.tensor([1])
    torch.testing.assert_close(continued(lambda cache: cache.batch_select_indices(chosen), chosen), plain[chosen])


@torch.no_grad()
def test_a_reset_cache_is_new():
    model = tiny()
    cache = model(tokens(1, 14), use_cache=True).past_key_values
    assert cache.get_seq_length() == 14
    cache.reset()
    assert cache.get_seq_length() == 0
    again = model(tokens(1, 9, seed=1), past_key_values=cache).logits
    assert torch.equal(again, model(tokens(1, 9, seed=1)).logits)


@torch.no_grad()
def test_it_cannot_be_cropped_nor_used_by_another_model():
    cache = tiny()(tokens(1, 9), use_cache=True).past_key_values
    with pytest.raises(ValueError, match="crop is not supported"):
        cache.crop(-1)
    with pytest.raises(ValueError, match="assisted decoding is not supported"):
        cache.activate_past_recording()
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    with pytest.raises(ValueError, match="this cache belongs to B'MOJO"):
        LlamaForCausalLM(config)(tokens(1, 1), past_key_values=cache)
