"""The head's forecasts, and its file beside the model."""

import json

import pytest
import torch

from timecost.errors import UserError
from timecost.value.head import ValueHead, ValueHeadConfig, load_value_head, save_value_head
from timecost.value.novelty import fit_novelty
from timecost.value.steps import StepRule


@pytest.fixture(scope="module")
def model(tiny_arithmetic):
    from timecost.loading import load_model_to_use

    return load_model_to_use(tiny_arithmetic)[0]


def head(**fields) -> ValueHead:
    return ValueHead(ValueHeadConfig(**{"hidden_size": 32, "horizons": (0, 1, 2), "prices": (0.0, 0.1), **fields}))


def test_shapes_and_what_an_untrained_head_says():
    forecast = head()(torch.randn(5, 32), torch.arange(5))
    assert forecast.value.shape == forecast.tokens.shape == (5, 4) and forecast.gain.shape == (5, 2)
    assert (forecast.value == 0.5).all() and (forecast.gain == 0).all()


def test_above_its_price_a_look_is_not_taken():
    looking = head(peek=True, peek_up_to=0.01)
    assert looking.at_price(0.01) is looking and looking.at_price(0.02) is looking.blind
    assert not looking.blind.config.peek and head().at_price(5.0).config.peek is False
    look = torch.randn(5, 32), torch.rand(5), torch.rand(5), torch.ones(5)
    assert looking(torch.randn(5, 32), torch.arange(5), look).value.shape == (5, 4)


def test_expected_tokens_by_hand():
    untrained = head()
    untrained.bin_tokens.copy_(torch.tensor([0.0, 1.0, 2.0, 10.0]))
    # ends at once with 1/2, after one token with 1/4, after two with 1/8, later (10 tokens) with 1/8
    expected = untrained.expected_tokens(torch.full((1, 3), 0.5))
    torch.testing.assert_close(expected, torch.tensor([[0.0, 0.5, 0.25 + 0.25 + 0.25, 0.25 + 0.25 + 1.25]]))


def test_a_saved_head_is_the_same_and_the_model_loads_without_a_word(model, tiny_arithmetic, tmp_path, recwarn):
    from transformers import AutoModelForCausalLM

    first = head(
        step_rule=StepRule((7,), 1), task="arithmetic", calibration={"task": "arithmetic", "price": 0.01}
    ).eval()
    torch.nn.init.normal_(first.open[-1].weight)
    questions = torch.randn(40, 32)
    first.knows_questions(fit_novelty(questions, torch.arange(40) < 10))
    model.save_pretrained(tmp_path)
    before = json.loads((tmp_path / "config.json").read_text())
    save_value_head(first, tmp_path)
    again = load_value_head(model, tmp_path)
    states, position = torch.randn(3, 32), torch.arange(3)
    torch.testing.assert_close(first(states, position).value, again(states, position).value)
    assert again.config == first.config and again.config.novelty == (32, 10)
    torch.testing.assert_close(again.novelty.p_value(questions), first.novelty.p_value(questions))
    assert json.loads((tmp_path / "config.json").read_text()) == before
    AutoModelForCausalLM.from_pretrained(tmp_path)
    assert not [w for w in recwarn if "value_head" in str(w.message)]


def test_what_is_no_head_of_the_model_is_told(model, tmp_path):
    with pytest.raises(UserError, match="fit one with `timecost fit-value"):
        load_value_head(model, tmp_path)
    save_value_head(head(hidden_size=16), tmp_path)
    with pytest.raises(UserError, match="belongs to another model"):
        load_value_head(model, tmp_path)
    (tmp_path / "value_head.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        load_value_head(model, tmp_path)
