"""B'MOJO: what a query sees, causality, padding, packing, generation, saving, and training with the usual trainers."""

import pytest
import torch
from bmojo_models import in_parts, tiny, tokens
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from timecost.models.bmojo.layout import make_layout
from timecost.models.bmojo.modeling_bmojo import SideBySide


def attention_inputs(model, input_ids):
    """Of the first layer: its normalised input, its SSM output, innovations, the layout and rotary tables."""
    backbone, layer = model.model, model.model.layers[0]
    layout = make_layout(model.config.sliding_window, *input_ids.shape, input_ids.device)
    x = layer.input_layernorm(backbone.embed_tokens(input_ids))
    rotary = (*backbone.rotary_emb(x, position_ids=layout.position), backbone.rotary_emb.inv_freq)
    s = layer.ssm(x, layout, {}, None)
    embedded = backbone.embed_tokens(input_ids)
    innovation = layer.innovation(s, embedded)[0] if layer.innovation else None
    return x, s, innovation, layout, rotary


def dense_attention(attention, x, s, innovation, rotary, window: int, size: int):
    """The same attention from its definition, one query after the other."""
    cos, sin = rotary[:2]
    q, k, v = (attention.split(project(x)) for project in (attention.q_proj, attention.k_proj, attention.v_proj))
    sk, sv = (attention.split(project(s)) for project in (attention.k_proj, attention.v_proj))
    (q, k), (_, sk) = apply_rotary_pos_emb(q, k, cos, sin), apply_rotary_pos_emb(sk, sk, cos, sin)
    k, v, sk, sv = (tensor.repeat_interleave(attention.groups, 1) for tensor in (k, v, sk, sv))
    out = torch.empty_like(q)
    for row in range(x.shape[0]):
        for t in range(x.shape[1]):
            seen = list(range(max(t - window + 1, 0), t + 1))
            if size:
                kept = sorted(range(t // window * window), key=lambda j: (-innovation[row, j].item(), j))[:size]
                seen += [j for j in kept if j <= t - window]
            faded = list(range(max(t - 2 * window + 1, 0), max(t - window + 1, 0)))
            keys = torch.cat([k[row][:, seen], sk[row][:, faded]], 1)
            values = torch.cat([v[row][:, seen], sv[row][:, faded]], 1)
            scores = (keys @ q[row, :, t, :, None])[..., 0] * attention.head_dim**-0.5
            out[row, :, t] = (scores.softmax(-1)[:, None] @ values)[:, 0]
    return attention.o_proj(out.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("size", [0, 3])
@torch.no_grad()
def test_a_query_sees_window_fading_and_eidetic_memory_in_one_softmax(size):
    """With size 0: released B'MOJO-F, window [t-W+1, t] and fading [t-2W+1, t-W] by the same projections."""
    model = tiny(eidetic_size=size, qk_conv=0, dtype=torch.float64)
    x, s, innovation, layout, rotary = attention_inputs(model, tokens(2, 22))
    attention = model.model.layers[0].self_attn
    out = attention(x, s, innovation, layout, rotary, {}, None)
    expected = dense_attention(attention, x, s, innovation, rotary, model.config.sliding_window, size)
    torch.testing.assert_close(out, expected, atol=1e-9, rtol=0)


FORMS = {
    "default": {},
    "fading alone": {"eidetic_size": 0},
    "window alone": {"eidetic_size": 0, "fading_window": 0},
    "compact": {"eidetic_positions": "compact"},
    "untied, qk_norm, no qk_conv": {"tie_memory_projections": False, "qk_norm": True, "qk_conv": 0},
    "ssm_residual, groups": {"ssm_residual": True, "ssm_n_groups": 2, "num_key_value_heads": 4},
    "innovation of outputs": {"innovation_target": "output"},
    "threshold": {"eidetic_policy": "threshold", "eidetic_threshold": 0.8},
    "random": {"eidetic_policy": "random"},
    "recency": {"eidetic_policy": "recency"},
}


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_one_token_at_a_time_equals_the_whole_sequence(form):
    model, input_ids = tiny(dtype=torch.float64, **FORMS[form]), tokens(3, 27)
    whole = model(input_ids, use_cache=True)
    logits, cache = in_parts(model, input_ids, [1] * 27)
    torch.testing.assert_close(logits, whole.logits, atol=1e-9, rtol=0)
    torch.testing.assert_close(model(input_ids, use_cache=False).logits, whole.logits, atol=1e-9, rtol=0)
    for layer, other in zip(cache.layers, whole.past_key_values.layers, strict=True):
        if model.config.eidetic_size:
            kept = layer.tensors["eidetic_score"].isfinite()
            assert kept.any() and torch.equal(kept, other.tensors["eidetic_score"].isfinite())
            positions = layer.tensors["eidetic_position"][kept]
            assert torch.equal(positions, other.tensors["eidetic_position"][kept])


@torch.no_grad()
def test_in_float32_too_where_the_sets_agree():
    model, input_ids = tiny(), tokens(3, 27)
    whole = model(input_ids, use_cache=True)
    logits, cache = in_parts(model, input_ids, [1] * 27)
    agree = [
        torch.equal(a.tensors["eidetic_position"], b.tensors["eidetic_position"])
        for a, b in zip(cache.layers, whole.past_key_values.layers, strict=True)
    ]
    assert all(agree)  # on this input; near-ties may swap on others
    torch.testing.assert_close(logits, whole.logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("sizes", [[9, *[1] * 18], [4, 8, 3, 12], [1, 2, 5, 1, 11, 7]])
@torch.no_grad()
def test_any_parts_equal_the_whole_sequence(sizes):
    model, input_ids = tiny(), tokens(3, 27)
    logits, _ = in_parts(model, input_ids, sizes)
    torch.testing.assert_close(logits, model(input_ids).logits, atol=1e-4, rtol=0)


def padded(length=23, rows=(6, 1, 0)):
    mask = torch.ones(3, length, dtype=torch.long)
    for row, count in enumerate(rows):
        mask[row, :count] = 0
    return mask


@torch.no_grad()
def test_left_padding_changes_nothing():
    model, input_ids, mask = tiny(dtype=torch.float64), tokens(3, 23), padded()
    logits = model(input_ids, attention_mask=mask).logits
    in_cache, _ = in_parts(model, input_ids, [9, 1, 1, 1, 1, 4, 1, 5], mask)
    for row, count in enumerate((6, 1, 0)):
        alone = model(input_ids[row : row + 1, count:]).logits[0]
        torch.testing.assert_close(logits[row, count:], alone, atol=1e-9, rtol=0)
        torch.testing.assert_close(in_cache[row, count:], alone, atol=1e-9, rtol=0)


def packed_kwargs(lengths, how):
    position_ids = torch.cat([torch.arange(length) for length in lengths])[None]
    ends = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    seq_idx = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None].to(torch.int32)
    every = {
        "position_ids": position_ids, "seq_idx": seq_idx, "cu_seq_lens_q": ends, "cu_seq_lens_k": ends,
        "max_length_q": max(lengths), "max_length_k": max(lengths),
    }  # fmt: skip
    return every if how == "all" else {how: every[how]}


@pytest.mark.parametrize("how", ["position_ids", "seq_idx", "cu_seq_lens_q", "all"])
def test_packed_sequences_do_not_see_each_other(how):
    lengths = [13, 1, 9, 4, 6]
    model, input_ids = tiny(dtype=torch.float64).train(), tokens(1, sum(lengths))
    logits = model(input_ids, use_cache=False, **packed_kwargs(lengths, how)).logits
    parts = input_ids.split(lengths, dim=1)
    torch.testing.assert_close(logits, torch.cat([model(part).logits for part in parts], 1), atol=1e-9, rtol=0)

    def gradients(loss):
        model.zero_grad()
        loss.backward()
        names = [name for name, _ in model.named_parameters() if "innovation" not in name]
        return {name: model.get_parameter(name).grad.clone() for name in names}

    packed = gradients(logits.square().sum())
    alone = gradients(sum(model(part).logits.square().sum() for part in parts))
    scale = max(grad.abs().max() for grad in alone.values())
    for name, grad in packed.items():
        torch.testing.assert_close(grad / scale, alone[name] / scale, atol=1e-9, rtol=0, msg=name)


@torch.no_grad()
def test_causal_exactly_and_memory_reaches_beyond_both_windows():
    input_ids = tokens(1, 40)
    changed = input_ids.clone()
    changed[0, 2] = (changed[0, 2] + 1) % 50
    for size, reaches in ((40, True), (0, False)):
        # One layer and a convolution-free state that forgets at once: beyond 2W only the eidetic set can tell.
        model = tiny(num_hidden_layers=1, eidetic_size=size, qk_conv=0, ssm_conv_kernel=1)
        model.model.layers[0].ssm.A_log.fill_(20.0)
        before, after = model(input_ids).logits[0], model(changed).logits[0]
        assert torch.equal(before[:2], after[:2])
        assert not torch.equal(before[2], after[2])
        assert torch.equal(before[20:], after[20:]) is not reaches


@torch.no_grad()
def test_generation_with_a_cache_equals_generation_without():
    model, input_ids = tiny(), tokens(2, 9)
    out = model.generate(input_ids, max_new_tokens=64, do_sample=False, pad_token_id=0)
    sequence = input_ids
    for _ in range(64):
        sequence = torch.cat([sequence, model(sequence, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(out, sequence)


@torch.no_grad()
def test_beams_and_sampling_equal_those_without_a_cache():
    model, input_ids = tiny(), tokens(2, 9)
    mask = padded(9, rows=(3, 0))[:2]
    for options in ({"num_beams": 2}, {"num_beams": 2, "num_return_sequences": 2}, {"do_sample": True}):
        outs = []
        for use_cache in (True, False):
            torch.manual_seed(0)
            outs.append(
                model.generate(
                    input_ids, attention_mask=mask, max_new_tokens=12, use_cache=use_cache, pad_token_id=0,
                    **{"do_sample": False, **options},
                )
            )  # fmt: skip
        assert torch.equal(*outs)


@torch.no_grad()
def test_a_change_of_hidden_states_follows_padding():
    model, input_ids, mask = tiny(dtype=torch.float64), tokens(3, 23), padded()
    states = model(input_ids, attention_mask=mask, output_hidden_states=True).hidden_states
    alone = model(input_ids[:1, 6:], output_hidden_states=True).hidden_states
    assert len(states) == model.config.num_hidden_layers + 1
    for state, expected in zip(states, alone, strict=True):
        torch.testing.assert_close(state[:1, 6:], expected, atol=1e-9, rtol=0)


def test_bfloat16_trains_and_generates():
    model = tiny(dtype=torch.bfloat16)
    out = model.train()(tokens(2, 23), labels=tokens(2, 23))
    out.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.eval().generate(tokens(2, 9), max_new_tokens=9, pad_token_id=0).shape == (2, 18)


@pytest.mark.parametrize("length", [3, 23])
def test_every_parameter_has_a_gradient_and_checkpointing_changes_nothing(length):
    """A short input too, which never reaches the memories: distributed training demands it."""
    model = tiny(spread=0.05, tie_memory_projections=False, qk_norm=True).train()

    def gradients():
        model.zero_grad()
        loss = model(tokens(2, length), labels=tokens(2, length), use_cache=False).loss
        loss.backward()
        return loss, {name: parameter.grad for name, parameter in model.named_parameters()}

    loss, plain = gradients()
    assert [name for name, grad in plain.items() if grad is None] == []
    model.gradient_checkpointing_enable()
    loss_again, checkpointed = gradients()
    assert torch.equal(loss, loss_again)
    for name, grad in plain.items():
        torch.testing.assert_close(checkpointed[name], grad, atol=1e-7, rtol=1e-5, msg=name)


def test_the_innovation_loss_trains_the_predictor_and_nothing_else():
    gradients = []
    for coef in (0.0, 0.5):
        model = tiny(innovation_loss_coef=coef).train()
        out = model(tokens(2, 23), labels=tokens(2, 23))
        out.loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
        assert out.innovation_loss > 0 and not out.innovation_loss.requires_grad
    for name, grad in gradients[0].items():
        if "innovation" in name:
            assert grad.abs().max() == 0 and gradients[1][name].abs().max() > 0
        else:
            torch.testing.assert_close(gradients[1][name], grad)
    # The gradient is that of coef * mean(innovation).
    model = tiny(innovation_loss_coef=0.5, num_hidden_layers=1).train()
    model(tokens(2, 23)).logits.sum().backward()
    weight = model.model.layers[0].innovation.weight
    attached, weight.grad = weight.grad, None
    (0.5 * attention_inputs(model, tokens(2, 23))[2].mean()).backward()
    torch.testing.assert_close(attached, weight.grad)


def test_saved_models_load_by_the_auto_classes(tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path)
    for loaded in (AutoModelForCausalLM.from_pretrained(tmp_path), type(model).from_pretrained(tmp_path)):
        assert type(loaded) is type(model)
        assert torch.equal(loaded(tokens(2, 23)).logits, model(tokens(2, 23)).logits)
    backbone = AutoModel.from_pretrained(tmp_path)
    expected = model.model(tokens(2, 23)).last_hidden_state
    assert torch.equal(backbone(tokens(2, 23)).last_hidden_state, expected)
    assert set(AutoConfig.from_pretrained(tmp_path).auto_map) == {"AutoConfig", "AutoModel", "AutoModelForCausalLM"}


@pytest.mark.slow
def test_a_saved_model_brings_its_code(tmp_path):
    """In a process that never imports timecost, with trust_remote_code."""
    import os
    import subprocess
    import sys

    model = tiny()
    model.save_pretrained(tmp_path / "model")
    torch.save(model(tokens(1, 23)).logits, tmp_path / "logits.pt")
    torch.save(tokens(1, 23), tmp_path / "tokens.pt")
    code = (
        "import sys, torch\n"
        "from transformers import AutoModel, AutoModelForCausalLM\n"
        "AutoModel.from_pretrained('model', trust_remote_code=True)\n"
        "model = AutoModelForCausalLM.from_pretrained('model', trust_remote_code=True)\n"
        "assert torch.equal(model(torch.load('tokens.pt')).logits, torch.load('logits.pt'))\n"
        "model.generate(torch.load('tokens.pt'), max_new_tokens=5, pad_token_id=0)\n"
        "assert 'timecost' not in sys.modules\n"
    )
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stderr


def test_adapters_learn_and_merge():
    from peft import LoraConfig, get_peft_model

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "in_proj", "out_proj"]
    model = get_peft_model(
        tiny(), LoraConfig(r=2, target_modules=targets, modules_to_save=["innovation"], init_lora_weights=False)
    ).train()
    model(input_ids=tokens(2, 23), labels=tokens(2, 23)).loss.backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert any("innovation" in name for name in trained)
    assert [name for name, grad in trained.items() if grad is None or not grad.any()] == []
    model.eval()
    before = model(input_ids=tokens(2, 23)).logits
    merged = model.merge_and_unload()
    torch.testing.assert_close(merged(tokens(2, 23)).logits, before, atol=1e-4, rtol=1e-4)


def test_what_cannot_work_is_refused_in_one_line():
    from transformers import DynamicCache

    model, input_ids = tiny(), tokens(1, 9)
    with pytest.raises(ValueError, match="cache of another model: make one with DynamicCache"):
        model(input_ids, past_key_values=DynamicCache())
    other = tiny(eidetic_size=5)(input_ids, use_cache=True).past_key_values
    with pytest.raises(ValueError, match="B'MOJO of another size"):
        model(input_ids, past_key_values=other)
    with pytest.raises(ValueError, match="past_key_values holds 1 rows, the input 2"):
        model(tokens(2, 1), past_key_values=model(input_ids, use_cache=True).past_key_values)
    with pytest.raises(ValueError, match="attention_mask must be"):
        model(input_ids, attention_mask=torch.ones(1, 1, 9, 9))
    with pytest.raises(ValueError, match="assisted generation is not supported with stateful models"):
        model.generate(input_ids, assistant_model=tiny(), max_new_tokens=2)
    with pytest.raises(ValueError, match="does not support continuous batching"):
        model.init_continuous_batching()


def test_a_missing_kernel_is_said_when_the_model_is_made(monkeypatch):
    from timecost.models.bmojo import ssd

    monkeypatch.setattr(ssd, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="needs the package flash-linear-attention"):
        tiny(ssm_backend="fla")


@pytest.mark.parametrize("size", [0, 3])
def test_gradients_of_what_stands_side_by_side(size):
    generator = torch.Generator().manual_seed(0)
    n, window, batch, heads = 3, 2, 2, 2

    def normal(slots):
        return torch.randn(batch, heads, *slots, 2, generator=generator, dtype=torch.float64, requires_grad=True)

    sets, frames = normal((n, size)) if size else None, [normal((5 * window,)), normal((4 * window,))]

    def concatenated(sets, *frames):
        parts = [] if sets is None else [sets]
        for frame in frames:
            chunks = frame.unflatten(2, (-1, window))[:, :, : n + 1]
            parts += [chunks[:, :, :-1], chunks[:, :, 1:]]
        return torch.cat(parts, 3).transpose(1, 2).flatten(0, 1)

    assert torch.equal(SideBySide.apply(n, window, sets, *frames), concatenated(sets, *frames))
    assert torch.autograd.gradcheck(lambda *parts: SideBySide.apply(n, window, *parts), (sets, *frames))


def trainer_moves_the_predictor(trainer_class, config_class, folder, tmp_path, **kwargs):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = tiny(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    options = {
        "output_dir": str(tmp_path), "max_steps": 2, "per_device_train_batch_size": 4, "learning_rate": 1e-2,
        "use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no", "gradient_checkpointing": False,
    }  # fmt: skip
    arguments = config_class(**{**options, **kwargs.pop("options")})
    trainer_class(model=model, args=arguments, processing_class=tokenizer, **kwargs).train()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p.detach(), before[name])}
    return [name for name in before if "innovation" in name and name not in moved]


@pytest.mark.slow
@pytest.mark.parametrize("packing", [False, True])
def test_the_predictor_learns_under_sft(tiny_arithmetic, tmp_path, packing):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_dict({"text": ["1+2+3+4+5+6=1+2", "7*8", "3+4+5+6+7+8=9"] * 8})
    still = trainer_moves_the_predictor(
        SFTTrainer, SFTConfig, tiny_arithmetic, tmp_path, train_dataset=data,
        options={"packing": packing, "max_length": 24},
    )  # fmt: skip
    assert still == []


@pytest.mark.slow
def test_the_predictor_learns_under_grpo(tiny_arithmetic, tmp_path):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    still = trainer_moves_the_predictor(
        GRPOTrainer, GRPOConfig, tiny_arithmetic, tmp_path,
        train_dataset=Dataset.from_dict({"prompt": ["1+2+3=", "4*5="] * 8}),
        reward_funcs=lambda completions, **kwargs: [float(len(set(text))) for text in completions],
        options={"num_generations": 2, "max_completion_length": 12},
    )  # fmt: skip
    assert still == []
