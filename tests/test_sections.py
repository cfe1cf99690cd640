"""The sections of a page: which there are, and the sentences that they say."""

import json
import re

import pytest
from test_figures import make_records, make_rows
from test_report import data_of, three_models, write

from timecost.errors import UserError
from timecost.evaluation.report import write_report
from timecost.evaluation.results import write_results
from timecost.evaluation.sections import headline, opening_limit


def sweep(folder):
    """Results of a model at budgets 8, 16 and inf, and of one without budgets."""
    rows_of = {
        (model, budget): [{**row, "budget": budget} for row in make_rows(model, {"steps": tokens})]
        for model, budget, tokens in (("a", "8", 7), ("a", "16", 20), ("a", "inf", 30), ("b", "inf", 24))
    }
    for row in rows_of["a", "8"]:
        row["status"] = "incorrect"
    return write(folder, rows_of)


def test_budgets_are_one_line_a_section_and_a_recommendation(tmp_path):
    page = write_report(sweep(tmp_path)).read_text()
    assert re.findall(r'data-figure="(\w+)"', page)[:2] == ["frontier", "adherence"]
    assert "One problem at several budgets" in page
    chosen = re.findall(r'<tr data-limit="([\d.]+)"><td[^>]*>[^<]*</td><td><b><bdi>([^<]+)', page)
    assert [name for _, name in chosen] == ["a, budget 8", "a, budget 16"]
    kept = page.partition("over the budget")[2].partition("</table>")[0]
    assert "closed at the bound" not in page
    assert re.findall(r'<bdi>([^<]+)</bdi></th><td class="num">([^<]+)', kept) == [
        ("a, budget 8", "14.0"),
        ("a, budget 16", "40.0"),
    ]


@pytest.mark.parametrize("without", ["samples", "difficulty"])
def test_sections_without_data_are_left_out(tmp_path, without):
    rows_of = three_models()
    if without == "difficulty":
        rows_of = {model: [{**row, "difficulty": None} for row in rows] for model, rows in rows_of.items()}
    write(tmp_path, rows_of)
    if without == "samples":
        (tmp_path / "samples.jsonl").unlink()
    page = write_report(tmp_path).read_text()
    assert [f'id="{name}"' in page for name in ("samples", "problem", "data")] == [without != "samples"] * 3
    assert ("Time by difficulty" in page) == (without != "difficulty")
    assert 'data-figure="adherence"' not in page and "forecasts of its own" not in page


def test_the_models_are_what_their_cards_say(tmp_path):
    rows_of = three_models()
    card = "---\ntags: []\n---\n\n# levin\n\nIt is <b>quick</b>.\n\n## How to use\n\n<!-- timecost: evaluation -->"
    (tmp_path / "levin").mkdir()
    (tmp_path / "levin" / "README.md").write_text(card)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").write_text("# Not ours\n\nsecret")
    for record, rows in zip(make_records(rows_of), rows_of.values(), strict=True):
        write_results(tmp_path, {**record, "model_name_or_path": str(tmp_path / record["model"])}, rows)
    page = write_report(tmp_path).read_text()
    said = page.partition('id="models"')[2].partition("</section>")[0]
    assert re.findall(r"<dt><b><bdi>(\w+)", said) == ["base", "accuracy", "levin"]
    assert "It is &lt;b&gt;quick&lt;/b&gt;." in said and "secret" not in said
    assert 'id="models"' not in write_report(write(tmp_path / "without", {"base": rows_of["base"]})).read_text()


def test_a_value_head_gets_its_section_and_steps_their_values(tmp_path):
    rows_of = three_models()
    write(tmp_path, rows_of)
    bins = [{"forecast": p, "outcome": p + 0.05, "num": 10} for p in (0.1, 0.5, 0.9)]
    curve = {"tokens": [0, 8], "measured": [0.2, 0.9], "forecast": [0.25, 0.85]}
    kept = {"price": 0.003, "loss": 0.01, "delta": 0.1, "num_problems": 1000, "num_harms": 3}
    head = {"model": "levin", "task": "arithmetic", "reliability": bins, "anytime": curve, "guarantee": kept,
            "calibration_error": 0.05, "calibration_error_low": 0.04, "calibration_error_high": 0.07}  # fmt: skip
    steps = [{"text": "<st", "tokens": 3, "value": 0.7}, {"text": "eps>7", "tokens": 6, "value": 0.1}]
    row = {**rows_of["levin"][0], "status": "incorrect", "value_at_start": 0.4, "steps": steps}
    (tmp_path / "value.json").write_text(json.dumps({"heads": [head], "samples": [row]}))
    page = write_report(tmp_path).read_text()
    assert re.findall(r'data-figure="(\w+)"', page)[-2:] == ["anytime", "reliability"]
    assert "off by 5.0 points on average [4.0, 7.0]." in page and "with confidence 90 %: 3 of 1000" in page
    known = [sample[9] for sample in data_of(page)["samples"] if sample[9]]
    assert known == [[["<st", 0.3, 0.7, False], ["eps>7", -0.6, 0.1, True]]]
    (tmp_path / "value.json").write_text('{"heads": [{"task": "arithmetic"}]}')
    with pytest.raises(UserError, match="does not hold measures of a value head"):
        write_report(tmp_path)


def test_headline():
    rows_of = three_models()
    compared = headline("arithmetic", make_records(rows_of, "accuracy"))
    assert compared.startswith("On arithmetic, \u201clevin\u201d needs 0.50")
    assert "sooner: a speed-up of +0.9" in compared
    alone = headline("arithmetic", make_records({"base": rows_of["base"]}))
    assert alone == "On arithmetic, base has 91.7 % right with 16.0 tokens."
    direct = [{**row, "budget": "0"} for row in rows_of["base"]]
    assert headline("arithmetic", make_records({"base": direct})).startswith("On arithmetic, base, no thinking has")


def test_ten_runs_make_one_page(tmp_path):
    rows_of = {f"run {i}": make_rows(f"run {i}", {"steps": 4 + i}, num_samples=1) for i in range(10)}
    page = write_report(write(tmp_path, rows_of)).read_text()
    assert len(data_of(page)["settings"]) == 10 and "no other of the 10 is more accurate" in page


def test_the_page_opens_with_a_limit_that_something_keeps():
    assert opening_limit([{"limit": 9.5}, {"limit": 40.0}]) == 32
    assert opening_limit([{"limit": 100.4}]) == 101, "at 100 nothing would be that cheap"
    assert opening_limit([]) is None


def test_the_note_tells_what_differs_between_records(tmp_path):
    rows_of = three_models()
    first, second, _ = make_records(rows_of)
    write_results(tmp_path, first, rows_of["accuracy"])
    write_results(tmp_path, {**second, "num_problems": 50, "temperature": 0.0}, rows_of["base"])
    note = "50 or 2 problems of split test, 6 samples each, temperature 0 or 1."
    assert note in write_report(tmp_path).read_text()


def test_tasks_share_the_colours_of_models_and_no_file_of_a_figure(tmp_path):
    rows_of = {(model, task): [{**row, "task": task} for row in make_rows(model, {"steps": 9})]
               for model, task in (("a", "t 1"), ("b", "t_1"))}  # fmt: skip
    page = write_report(write(tmp_path, rows_of), save_figures=True).read_text()
    first, second = (page.partition(f'<section id="t{i}"')[2].partition("</section>")[0] for i in range(2))
    assert "--c0" in first and "--c1" not in first and "--c1" in second and "--c0" not in second
    written = {path.name for path in (tmp_path / "figures").glob("*frontier*.svg")}
    assert written == {"t_1_frontier.svg", "t_1_frontier_2.svg"}
