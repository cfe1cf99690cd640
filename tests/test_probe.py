"""Steps of real samples of the embedded model, from evaluation to the page."""

import json
import shutil
from dataclasses import replace

import pytest
from bmojo_models import tiny
from test_report import data_of

from timecost.errors import UserError
from timecost.evaluation.evaluate import evaluate
from timecost.evaluation.probe import is_bmojo, probe_folder
from timecost.evaluation.records import make_record
from timecost.evaluation.report import run as report
from timecost.evaluation.results import read_results, write_json, write_results
from timecost.tasks import arithmetic
from timecost.value.head import ValueHead, ValueHeadConfig, save_value_head


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probed")
    settings = {"num_problems": 6, "num_samples": 2, "output_path": folder, "label": "base"}
    for budget in ("32", "inf"):
        evaluate("arithmetic_base", "arithmetic", budget=budget, **settings)
    return folder


@pytest.mark.slow
def test_steps_of_samples_get_their_values(folder):
    report([str(folder), "--probe", "3"])
    value = json.loads((folder / "value.json").read_text())
    assert value["heads"] == [] and len(value["samples"]) == 6  # 3 problems at 2 budgets
    for row in value["samples"]:
        assert row["completion"].startswith("".join(step["text"] for step in row["steps"]))
        assert all(0 <= step["value"] <= 1 for step in row["steps"]) and 0 <= row["value_at_start"] <= 1
    page = (folder / "report.html").read_text()
    assert "A step is coloured by what it changed" in page
    assert not any("memory" in row for row in value["samples"]) and "eidetic memory" not in page


def write_sample(folder, model_name: str, think_end: str = "</think>") -> dict:
    """Results of one sample, a problem of arithmetic that is solved step by step; returns its row."""
    problem = arithmetic.problems("test", 1)[0]
    thinking = "".join(arithmetic.write_pass(problem, problem.values, "steps"))
    row = {"model": "tiny", "task": "arithmetic", "budget": "inf", "problem": 0, "sample": 0, "prompt": problem.prompt,
           "answer": problem.answer, "difficulty": 2, "completion": f"{thinking}{think_end}{problem.answer}",
           "score": 1.0, "reason": "", "style": "steps", "status": "correct", "thinking_tokens": len(thinking),
           "answer_tokens": 3, "finished": True, "answered": True}  # fmt: skip
    settings = {"num_samples": 1, "temperature": 1.0, "seed": 0, "split": "test", "max_completion_length": 64}
    write_results(folder, make_record([row], {**settings, "model_name_or_path": model_name}), [row])
    return row


@pytest.mark.parametrize("exact", [True, False])
def test_of_a_bmojo_it_says_which_tokens_were_kept(exact, tmp_path, monkeypatch):
    tokenizer, name = arithmetic.build_tokenizer(), str(tmp_path / "bmojo")
    tiny(vocab_size=len(tokenizer)).save_pretrained(name)
    tokenizer.save_pretrained(name)
    if not exact:
        monkeypatch.setattr(arithmetic, "ARITHMETIC", replace(arithmetic.ARITHMETIC, exact_answer=False))
    row = write_sample(tmp_path, name)
    assert is_bmojo(name) and not is_bmojo("arithmetic_base") and not is_bmojo("not/there")
    report([str(tmp_path), "--probe", "1"])
    (sample,) = json.loads((tmp_path / "value.json").read_text())["samples"]
    assert ("steps" in sample) == exact
    memory = sample["memory"]
    prompt, written = (
        "".join(part) for part in (memory["tokens"][: memory["num_prompt"]], memory["tokens"][memory["num_prompt"] :])
    )
    assert prompt.endswith(row["prompt"]) and written == row["completion"]
    assert (memory["window"], memory["size"], len(memory["layers"])) == (4, 3, 2)
    assert all(at // 4 < until <= len(memory["tokens"]) for layer in memory["layers"] for at, until in layer)
    page = (tmp_path / "report.html").read_text()
    assert "kept</mark> word for word in the eidetic memory" in page
    assert [one[10][4] for one in data_of(page)["samples"]] == [memory["layers"]]


@pytest.mark.parametrize("calibrated_on", ["arithmetic", "gsm8k"])
def test_the_forecast_of_a_head_beside_the_model_is_measured(calibrated_on, tiny_arithmetic, tmp_path):
    """A head that was never fitted says one half everywhere; its guarantee is told for the task that it is about."""
    name, kept = str(tmp_path / "model"), {"task": calibrated_on, "price": 0.01}
    shutil.copytree(tiny_arithmetic, name)
    save_value_head(ValueHead(ValueHeadConfig(32, (0, 4), (0.0, 0.1), peek=True, calibration=kept)), name)
    write_sample(tmp_path, name)
    value = json.loads(probe_folder(tmp_path, 1).read_text())
    (head,), (sample,) = value["heads"], value["samples"]
    found = [sample["value_at_start"], *(step["value"] for step in sample["steps"])]
    assert (head["model"], head["task"], set(head["anytime"]["forecast"])) == ("tiny", "arithmetic", {0.5})
    assert sum(one["num"] for one in head["reliability"]) == len(found) > 1
    assert head["calibration_error"] == pytest.approx(sum(0.5 - chance for chance in found) / len(found))
    assert head.get("guarantee") == (kept if calibrated_on == "arithmetic" else None)


def test_a_tokenizer_that_cannot_close_a_thought_is_one_line(tiny_arithmetic, tmp_path, monkeypatch):
    write_sample(tmp_path, tiny_arithmetic, "</thought>")
    monkeypatch.setattr(arithmetic, "ARITHMETIC", replace(arithmetic.ARITHMETIC, think_end="</thought>"))
    with pytest.raises(UserError, match="has no token '</thought>'"):
        probe_folder(tmp_path, 1)


@pytest.mark.slow
def test_what_cannot_be_probed_is_one_line(folder, tmp_path):
    with pytest.raises(UserError, match="--probe is a number of problems"):
        report([str(folder), "--probe", "0"])
    results = read_results(folder)
    records = [{**record, "baseline": "prompt"} for record in results["records"]]
    write_json(tmp_path / "results.json", {**results, "records": records})
    (tmp_path / "samples.jsonl").write_text((folder / "samples.jsonl").read_text())
    with pytest.raises(UserError, match="can be probed"):
        probe_folder(tmp_path, 3)
