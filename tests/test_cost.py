import json

import pytest
import torch

from timecost.cost import (
    FlopCost,
    flop_cost,
    in_unit,
    load_cost_model,
    marginal_cost,
    split_tokens,
    sum_of_contexts,
    token_cost,
    unit_of,
)
from timecost.errors import UserError

THINK_END = 5


def test_thinking_is_what_comes_before_the_end_of_thinking_token():
    assert split_tokens([8, 8, 8, THINK_END, 9, 2], THINK_END) == (3, 3)


def test_an_answer_without_thought_still_costs():
    assert split_tokens([THINK_END, 9, 2], THINK_END) == (0, 3)
    assert token_cost(0, 3, prompt_cost=1.0) == 4.0


def test_thinking_that_never_closes_holds_no_answer():
    assert split_tokens([8, 8, 8], THINK_END) == (3, 0)


def test_only_the_first_end_of_thinking_counts():
    assert split_tokens([8, THINK_END, 9, THINK_END], THINK_END) == (1, 3)


def test_flops_of_a_transformer_by_hand():
    """2 layers of width 4; attention: each token at position n sees n tokens, 4 * 4 flops each in each layer."""
    model = FlopCost(body=100, head=20, layers=2, attention_width=4)
    positions = 3 + 5
    assert model(3, 4, 1) == 2 * 100 * positions + 2 * 20 * 5 + 2 * 16 * sum(range(1, positions + 1))


def test_the_next_token_costs_what_it_adds():
    """A token at position n of 2 layers of width 4: its weights twice, and 2 * 4 * 4 for each of n tokens."""
    model = FlopCost(body=100, head=20, layers=2, attention_width=4)
    assert marginal_cost(model, 3, 4) == 2 * 100 + 2 * 20 + 2 * 16 * (3 + 4 + 1)
    assert marginal_cost(load_cost_model("tokens"), 3, 4) == 1


def test_a_window_bounds_what_is_attended_to():
    for length in (1, 3, 4, 5, 9):
        assert sum_of_contexts(length, 4) == sum(min(n, 4) for n in range(1, length + 1))
    torch.testing.assert_close(sum_of_contexts(torch.tensor([3.0, 9.0]), 4), torch.tensor([6.0, 30.0]))


def weights_of_products(model) -> int:
    """Weights that take part in matrix products, without the embedding."""
    linear = [m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear)]
    return sum(linear)


def test_flops_read_the_sizes_off_the_config():
    from transformers import LlamaConfig, LlamaForCausalLM

    from timecost.models.bmojo import BMojoConfig, BMojoForCausalLM

    sizes = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
    llama, bmojo = LlamaConfig(**sizes), BMojoConfig(**sizes, ssm_head_dim=16, sliding_window=8, eidetic_size=4)
    for config, model in ((llama, LlamaForCausalLM(llama)), (bmojo, BMojoForCausalLM(bmojo))):
        flops = flop_cost(config)
        assert flops.body + flops.head >= weights_of_products(model)
    assert flop_cost(llama).body + flop_cost(llama).head == weights_of_products(LlamaForCausalLM(llama))
    assert flop_cost(llama).context is None and flop_cost(bmojo).context == 8 + 8 + 4
    assert flop_cost(bmojo).state == 6 * 32 * 64
    growth = [flop_cost(config)(1000, 0, 2000) / flop_cost(config)(1000, 0, 1000) for config in (llama, bmojo)]
    assert growth[0] > 1.9 > growth[1] > 1.4, "the context grows in one and not in the other"


def test_flops_of_experts_and_of_layers_that_differ():
    from transformers import Qwen3MoeConfig

    sizes = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8,
             "num_key_value_heads": 4}  # fmt: skip
    experts = {"intermediate_size": 999, "moe_intermediate_size": 16, "num_experts": 8, "num_experts_per_tok": 2}
    assert flop_cost(Qwen3MoeConfig(**sizes, **experts)).body == 2 * (4 * 32 * 32 + 2 * 3 * 32 * 16)

    from transformers import Gemma3TextConfig, Qwen3NextConfig

    kinds = ["sliding_attention", "full_attention"]
    mixed = flop_cost(Gemma3TextConfig(**sizes, intermediate_size=64, sliding_window=8, layer_types=kinds))
    assert (mixed.context, mixed.full_layers) == (8, 1)
    attended = mixed(20, 0, 0) - 2 * mixed.body * 20
    assert attended == 4 * 32 * ((8 * 9 / 2 + 12 * 8) + 20 * 21 / 2)
    with pytest.raises(UserError, match="linear_attention are not known"):
        flop_cost(Qwen3NextConfig(**sizes, layer_types=["linear_attention", "full_attention"]))


def test_flops_of_a_config_without_sizes():
    with pytest.raises(UserError, match="count tokens"):
        flop_cost(object())


def test_seconds_and_dollars_by_hand(tmp_path):
    seconds = {"unit": "seconds", "a": 1.0, "b": 0.1, "c": 0.2, "d": 0.01, "batch_size": 2, "hardware": "x"}
    (tmp_path / "cost.json").write_text(json.dumps(seconds))
    (tmp_path / "api.json").write_text('{"unit": "usd", "per_million_input": 1, "per_million_output": 10}')
    (tmp_path / "rent.json").write_text('{"unit": "usd", "per_hour": 7200, "seconds": "cost.json"}')
    took = 1 + 0.1 * 10 + 0.2 * 4 + 0.01 * 4 * (10 + 2)
    model = load_cost_model(str(tmp_path / "cost.json"))
    assert model(10, 3, 1) == pytest.approx(took) and (model.unit, model.hardware) == ("seconds", "x")
    assert load_cost_model(str(tmp_path / "api.json"))(10, 3, 1) == pytest.approx((10 + 40) / 1e6)
    assert load_cost_model(str(tmp_path / "rent.json"))(10, 3, 1) == pytest.approx(2 * took / 2)
    assert unit_of(str(tmp_path / "rent.json")) == "usd"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ('{"unit": "hours"}', "must hold"),
        ('{"unit": "seconds", "a": 1, "b": 0, "c": 0}', "not complete"),
        ('{"unit": "seconds", "a": 1, "b": -1, "c": 0, "d": 0}', "not be negative"),
        ('{"unit": "usd", "per_hour": 2}', "go together"),
        ('{"unit": "usd"}', "positive per_million_output or per_hour"),
    ],
)
def test_files_that_are_no_cost_model(tmp_path, content, message):
    (tmp_path / "cost.json").write_text(content)
    with pytest.raises(UserError, match=message):
        load_cost_model(str(tmp_path / "cost.json"))


def test_names_that_are_no_cost_model(tmp_path):
    for name, message in (("secs", "unknown cost model"), ("usd", "needs a file"), ("no.json", "cannot read")):
        with pytest.raises(UserError, match=message):
            load_cost_model(name)


def test_the_unit_travels_with_the_quantity():
    assert in_unit(200, "tokens", "budget") == in_unit("200", "tokens", "budget") == 200
    assert in_unit("2e-3 / second", "seconds", "price", per=True) == 0.002
    assert in_unit("1.5 seconds", "seconds", "budget") == 1.5
    with pytest.raises(
        UserError,
        match="'200' is in tokens, but the cost model counts seconds: give it in seconds, in the form '20 sec",
    ):
        in_unit("200", "seconds", "budget")
    for wrong in ("0.1/second", "1 hour", "x", "", "1 2"):
        with pytest.raises(UserError, match="is not a quantity"):
            in_unit(wrong, "seconds", "budget")
