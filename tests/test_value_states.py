"""Hidden states, and the closing token read ahead of generation."""

import pytest
import torch

from timecost.errors import UserError
from timecost.value.states import StateReader, attends_alone


@pytest.fixture(scope="module")
def model(tiny_arithmetic):
    from timecost.loading import load_model_to_use

    return load_model_to_use(tiny_arithmetic)[0]


def test_the_reader_holds_the_state_that_the_logits_come_from(model):
    ids = torch.tensor([[1, 7, 8, 9]])
    with StateReader(model) as reader, torch.no_grad():
        logits = model(ids).logits
        torch.testing.assert_close(model.get_output_embeddings()(reader.states), logits)
    model(ids)
    assert reader.states is None, "the hook is gone"


def test_a_look_is_the_state_of_the_closing_token_and_leaves_generation_as_it_was(model):
    from transformers import DynamicCache

    ids = torch.tensor([[0, 1, 7, 8], [1, 9, 7, 8]])
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    position = (mask.cumsum(1) - 1).clamp_min(0)
    with torch.no_grad():
        free = model(ids, attention_mask=mask, position_ids=position).logits
        longer = torch.cat([ids, torch.tensor([[5], [5]])], 1), torch.cat([mask, torch.ones(2, 1, dtype=torch.long)], 1)
        with StateReader(model) as reader:
            model(longer[0], attention_mask=longer[1], position_ids=(longer[1].cumsum(1) - 1).clamp_min(0))
            closed = reader.states[:, -1]
        follows = model.get_output_embeddings()(closed)
        cache = DynamicCache(config=model.config)
        with StateReader(model, 5, lambda input_ids: input_ids.shape[1] == 4) as reader:
            logits = model(ids, attention_mask=mask, position_ids=position, past_key_values=cache).logits
            assert cache.get_seq_length() == 4 and reader.states.shape[1] == 4
            torch.testing.assert_close(reader.closing, closed, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(reader.closing_logits, follows, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(logits, free, atol=1e-5, rtol=1e-4)
            model(ids[:, :1], attention_mask=longer[1], position_ids=position[:, -1:] + 1, past_key_values=cache)
            assert cache.get_seq_length() == 5 and reader.closing is None, "not asked for there"


def test_a_cache_that_cannot_be_wound_back_is_told(model):
    with (
        StateReader(model, 5, lambda input_ids: True), torch.no_grad(), pytest.raises(UserError, match="--no_peek"),
    ):  # fmt: skip
        model(torch.tensor([[1, 7]]), use_cache=False)


def test_a_model_with_a_window_does_not_attend_alone():
    from transformers import AutoModelForCausalLM, MistralConfig, Qwen3Config

    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}  # fmt: skip
    alone = [
        attends_alone(AutoModelForCausalLM.from_config(config))
        for config in (MistralConfig(**sizes, sliding_window=8), MistralConfig(**sizes, sliding_window=None),
                       Qwen3Config(**sizes))
    ]  # fmt: skip
    assert alone == [False, True, True]
