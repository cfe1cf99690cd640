"""A B'MOJO from a pretrained transformer: attention, MLP, norms and embeddings copied, the state-space model new."""

import torch

from .configuration_bmojo import BMojoConfig
from .modeling_bmojo import BMojoForCausalLM

COPIED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps",
    "pad_token_id", "bos_token_id", "eos_token_id", "tie_word_embeddings", "rope_parameters", "attention_bias",
    "attention_dropout", "mlp_bias",
)  # fmt: skip
SOURCES = ("llama", "qwen2", "qwen3")


def from_transformer(model_or_folder, **config_overrides) -> BMojoForCausalLM:
    """A BMojoForCausalLM with the weights of a causal language model of type llama, qwen2 or qwen3.

    Args:
        model_or_folder: the model, its folder, or its name on the hub.
        config_overrides: fields of BMojoConfig; sizes that the weights fix may not differ from theirs.

    With `eidetic_size=0, fading_window=0` and a window at least as long as the input, logits equal the source's.

    Raises ValueError for other types of model, a source with a sliding window of its own, and unknown overrides.
    """
    source = model_or_folder
    if not isinstance(source, torch.nn.Module):
        from transformers import AutoModelForCausalLM

        source = AutoModelForCausalLM.from_pretrained(model_or_folder, dtype="auto")
    old = source.config
    if old.model_type not in SOURCES:
        raise ValueError(f"from_transformer takes models of type {', '.join(SOURCES)}, not '{old.model_type}'")
    types = getattr(old, "layer_types", None) or []
    if any(kind != "full_attention" for kind in types):
        raise ValueError("from_transformer takes models with full attention in every layer; this one has windows")
    unknown = [name for name in config_overrides if name not in BMojoConfig.__dataclass_fields__]
    if unknown:
        raise ValueError(f"BMojoConfig has no field {', '.join(unknown)}: remove it or correct its name")
    for name in set(COPIED[:7]) & set(config_overrides):
        if config_overrides[name] != getattr(old, name, None):
            raise ValueError(f"{name} is fixed by the source's weights ({getattr(old, name, None)}): leave it out")
    fields = {name: getattr(old, name) for name in COPIED if getattr(old, name, None) is not None}
    fields["rope_parameters"] = dict(fields["rope_parameters"])
    fields["qk_norm"] = old.model_type == "qwen3"
    if old.model_type == "qwen2":
        fields |= {"attention_bias": True, "attention_output_bias": False}
    config = BMojoConfig(**{**fields, **config_overrides})

    model = BMojoForCausalLM(config).to(source.dtype)
    weights = source.state_dict()
    for i in range(config.num_hidden_layers):  # untied projections start as the ones they were tied to
        for old_name, new_name in (("k_proj", "k_fading_proj"), ("v_proj", "v_fading_proj")):
            if getattr(model.model.layers[i].self_attn, new_name) is not None:
                for part in ("weight", "bias"):
                    name = f"model.layers.{i}.self_attn.{old_name}.{part}"
                    if name in weights:
                        weights[f"model.layers.{i}.self_attn.{new_name}.{part}"] = weights[name]
    missing, unexpected = model.load_state_dict(weights, strict=False)
    new = (".ssm.", ".innovation.", ".qk_conv")
    wrong = [name for name in missing if not any(part in name for part in new)] + list(unexpected)
    if wrong:
        raise ValueError(f"the source's weights do not fit: {', '.join(wrong[:3])}")
    model.tie_weights()
    model.generation_config = source.generation_config
    return model.to(source.device).train(source.training)
