"""Cards are read back by huggingface_hub, whose validation of the metadata is what the Hub does first."""

import json
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard
from test_figures import make_records, make_rows

from timecost.errors import UserError
from timecost.evaluation.report import run as report
from timecost.evaluation.results import write_results
from timecost.model_card import is_hub_name, training_facts, update_card, usage, write_card


def facts(**changes):
    args = SimpleNamespace(
        hub_model_id=None, output_dir="outputs/quick", objective="levin", time_elasticity=0.05, objective_kwargs={},
        cost_model="tokens", price_schedule="constant", max_accuracy_loss=None, max_mean_cost=None,
        budgets=[8, 16], bounded_time_elasticity=None, efforts=None, think_end="</think>", num_generations=8,
        max_completion_length=64, learning_rate=1e-5, beta=0.0, seed=3,
    )  # fmt: skip
    log = [{"loss": 1.0, "timecost/budget_8/accuracy": 0.5, "timecost/budget_8/thinking_tokens": 6.0},
           {"eval_timecost/accuracy": 0.875, "eval_timecost/tokens": 20.5}]  # fmt: skip
    model = SimpleNamespace(config=SimpleNamespace(_name_or_path="org/start", model_type="llama"))
    trainer = SimpleNamespace(
        args=args, model=model, state=SimpleNamespace(log_history=log, global_step=5),
        accelerator=SimpleNamespace(unwrap_model=lambda model: model), processing_class=None,
    )  # fmt: skip
    return {**training_facts(trainer, "arithmetic"), **changes}


def results_of(card: ModelCard) -> dict:
    return {
        (r.dataset_type, r.metric_type, (r.dataset_args or {}).get("budget")): r.metric_value
        for r in card.data.eval_results
    }


def test_a_card_says_what_was_trained_and_is_valid(tmp_path):
    card = ModelCard.load(write_card(tmp_path, facts()))
    assert (card.data.model_name, card.data.base_model, card.data.library_name) == (
        "quick",
        "org/start",
        "transformers",
    )
    assert results_of(card) == {("arithmetic", "accuracy", None): 0.875, ("arithmetic", "tokens", None): 20.5}
    assert "saving of 30 % of the tokens paid for itself while it cost less than 1.8 % of the accuracy" in card.text
    assert "| time elasticity | 0.05 |" in card.text and "| seed | 3 |" in card.text
    assert "| 8 | 50.0 | 6.0 |" in card.text and "87.5 % right with 20.5 tokens" in card.text


def test_usage_is_five_lines_of_python():
    text = usage(facts())
    code = text.split("```")[1].removeprefix("python\n")
    assert len(code.strip().splitlines()) == 5 and '["..."], [16]' in code
    compile(code, "usage", "exec")
    assert '[[{"role": "user", "content": "..."}]], [None]' in usage(facts(chat=True, budgets=[]))


def test_an_untested_model_says_so(tmp_path):
    card = ModelCard.load(write_card(tmp_path, facts(log={}, objective="linear", time_elasticity=None, budgets=[])))
    assert card.data.eval_results is None
    assert "Not evaluated on test problems" in card.text and "Its objective was `linear`" in card.text


def test_results_go_into_the_card_and_replace_what_stood_there(tmp_path):
    model, results = tmp_path / "model", tmp_path / "results"
    results.mkdir()
    write_card(model, facts())
    (model / "README.md").write_text((model / "README.md").read_text() + "\nMy own words.\n")
    kept = {"task": "arithmetic", "price": 0.003, "loss": 0.01, "delta": 0.1, "num_problems": 1000, "num_harms": 3}
    (model / "value_head.json").write_text(json.dumps({"calibration": kept}))
    rows = [{**row, "budget": "8"} for row in make_rows("quick", {"steps": 10})]
    (record,) = make_records({"quick": rows})
    write_results(results, {**record, "model_name_or_path": str(model)}, rows)
    for _ in range(2):
        report([str(results), "--model_card", str(model)])
    card = ModelCard.load(model / "README.md")
    assert results_of(card) == {("arithmetic", "accuracy", "8"): 0.9167, ("arithmetic", "tokens", "8"): 20.0}
    assert card.text.count("| arithmetic | 8 |") == 1 and "Not evaluated" not in card.text
    assert "My own words." in card.text and "with confidence 90 %" in card.text


def test_what_has_no_place_for_results_is_one_line(tmp_path):
    record = make_records({"m": make_rows("m", {"steps": 10})})
    with pytest.raises(UserError, match="holds no README.md"):
        update_card(tmp_path, record)
    (tmp_path / "README.md").write_text("# mine")
    with pytest.raises(UserError, match="has no marks"):
        update_card(tmp_path, record)
    with pytest.raises(UserError, match="no record of the model"):
        update_card(tmp_path, [])


def test_a_folder_is_no_name_of_the_hub(tmp_path):
    assert is_hub_name("Qwen/Qwen3-1.7B") and not is_hub_name("arithmetic_base")
    assert not is_hub_name(str(tmp_path)) and not is_hub_name("./a") and not is_hub_name(None)
