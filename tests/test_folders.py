"""Several folders of results on one page: whose models are which, and what was written by another version."""

import json

import pytest
from test_figures import make_records
from test_report import HOSTILE, data_of, three_models, write

from timecost.errors import UserError
from timecost.evaluation.folders import read_folders
from timecost.evaluation.report import run as report
from timecost.evaluation.report import write_report
from timecost.evaluation.viewer import UNSEEN


def test_several_folders_make_one_page(tmp_path):
    for name in "xy":
        (tmp_path / name).mkdir()
        write(tmp_path / name, {"levin": three_models()["levin"]})
    report([str(tmp_path / "x"), str(tmp_path / "y")])
    page = (tmp_path / "x" / "report.html").read_text()
    assert [s["model"] for s in data_of(page)["settings"]] == ["levin", "y/levin"]
    with pytest.raises(UserError, match="name each folder once"):
        report([str(tmp_path / "x"), str(tmp_path / "y"), str(tmp_path / "y")])


def test_folders_of_one_name_are_told_apart_by_their_path(tmp_path):
    folders = [tmp_path / name / "results" for name in "abc"]
    for folder in folders:
        folder.mkdir(parents=True)
        write(folder, {"levin": three_models()["levin"]})
    report([*map(str, folders), "--output_path", str(tmp_path / "page.html")])
    models = [s["model"] for s in data_of((tmp_path / "page.html").read_text())["settings"]]
    assert models == ["levin", "results/levin", "c/results/levin"]


def test_another_version_is_said_on_the_page(tmp_path):
    folder = write(tmp_path, three_models())
    results = json.loads((folder / "results.json").read_text())
    assert "may have been defined in another way" not in write_report(folder).read_text()
    results["provenance"]["versions"]["timecost"] = "99.0"
    (folder / "results.json").write_text(json.dumps(results))
    assert "was written by timecost 99.0" in write_report(folder).read_text()


def test_a_reference_keeps_the_name_of_its_own_folder(tmp_path):
    rows_of = three_models()
    record = make_records(rows_of, "base")[2]
    for name in "xy":
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps({"records": [record]}))
    write(tmp_path / "z", rows_of, "accuracy")
    records = read_folders([tmp_path / name for name in "xyz"])["records"]
    compared = {(record["model"], record["reference"]) for record in records if record["model"].endswith("levin")}
    assert compared == {("levin", "base"), ("y/levin", "base"), ("z/levin", "z/accuracy")}


def test_what_cannot_be_seen_is_written_out_wherever_it_stands(tmp_path):
    rows = [{**row, "model": HOSTILE, "task": HOSTILE, "style": HOSTILE} for row in three_models()["base"]]
    (record,) = make_records({HOSTILE: rows})
    record |= {"split": HOSTILE, "model_name_or_path": HOSTILE}
    (tmp_path / "results.json").write_text(json.dumps({"records": [record], "provenance": {"command": HOSTILE}}))
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = write_report(tmp_path).read_text()
    assert not UNSEEN.search(page) and page.count("<script") == 2
    assert data_of(page)["shown"] == len(rows), "the samples are those of the record"
