"""Steps of real samples of the embedded model, from evaluation to the page."""

import json

import pytest

from timecost.errors import UserError
from timecost.evaluation.evaluate import evaluate
from timecost.evaluation.probe import probe_folder
from timecost.evaluation.report import run as report
from timecost.evaluation.results import read_results, write_json


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
