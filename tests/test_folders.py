"""Several folders of results on one page: whose models are which, and what was written by another version."""

import json

import pytest
from test_report import data_of, three_models, write

from timecost.errors import UserError
from timecost.evaluation.report import run as report
from timecost.evaluation.report import write_report


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
