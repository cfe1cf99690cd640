"""B'MOJO from a pretrained transformer: the same logits with the memories off, and a start that trains with them."""

import pytest
import torch
from bmojo_models import tokens
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from timecost.models.bmojo import from_transformer


def source(kind: str, tie: bool):
    config_class, model_class = {
        "llama": ("LlamaConfig", "LlamaForCausalLM"),
        "qwen2": ("Qwen2Config", "Qwen2ForCausalLM"),
        "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
    }[kind]
    import transformers

    head = {} if kind == "qwen2" else {"head_dim": 16}
    config = getattr(transformers, config_class)(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tie, initializer_range=0.3, **head,
    )  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize(("kind", "tie"), [("llama", False), ("llama", True), ("qwen3", True), ("qwen2", False)])
@torch.no_grad()
def test_without_memory_the_logits_are_the_source_s(kind, tie, tmp_path):
    old = source(kind, tie)
    new = from_transformer(old, eidetic_size=0, fading_window=0, sliding_window=32)
    torch.testing.assert_close(new(tokens(2, 23)).logits, old(tokens(2, 23)).logits, atol=3e-5, rtol=0)
    old.save_pretrained(tmp_path / "old")
    again = from_transformer(str(tmp_path / "old"), sliding_window=32, ssm_head_dim=16)  # memories, not yet reached
    torch.testing.assert_close(again(tokens(2, 23)).logits, old(tokens(2, 23)).logits, atol=3e-5, rtol=0)
    again.save_pretrained(tmp_path / "new")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    assert torch.equal(loaded(tokens(2, 40)).logits, again(tokens(2, 40)).logits)
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) is tie


def test_untied_projections_start_as_the_tied_ones():
    old = source("llama", False)
    new = from_transformer(old, sliding_window=4, ssm_head_dim=16, tie_memory_projections=False)
    for layer in new.model.layers:
        assert torch.equal(layer.self_attn.k_fading_proj.weight, layer.self_attn.k_proj.weight)
    assert new(tokens(2, 23), labels=tokens(2, 23)).loss.isfinite()


def test_wrong_sources_and_fields_are_refused():
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=32, n_layer=1, n_head=2))
    with pytest.raises(ValueError, match="takes models of type llama, qwen2, qwen3, not 'gpt2'"):
        from_transformer(gpt2)
    with pytest.raises(ValueError, match="no field slidingwindow"):
        from_transformer(source("llama", False), slidingwindow=4)
    with pytest.raises(ValueError, match="hidden_size is fixed by the source's weights"):
        from_transformer(source("llama", False), hidden_size=64)
