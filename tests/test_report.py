"""The page as a file: what it says and what it carries. How it behaves in a browser is in test_report_page.py."""

import json
import re
from html.parser import HTMLParser

import pytest
from test_figures import make_records, make_rows

from timecost.errors import UserError
from timecost.evaluation.report import headline, write_report
from timecost.evaluation.report import run as report
from timecost.evaluation.results import write_results


@pytest.fixture
def rows_of():
    return {"accuracy": make_rows("accuracy", {"steps": 12}), "base": make_rows("base", {"direct": 4, "steps": 12}),
            "levin": make_rows("levin", {"steps": 6})}  # fmt: skip


def write(folder, rows_of, reference=None):
    for record, rows in zip(make_records(rows_of, reference), rows_of.values(), strict=True):
        write_results(folder, record, rows)
    return folder


@pytest.fixture
def folder(rows_of, tmp_path):
    return write(tmp_path, rows_of, "accuracy")


@pytest.fixture(scope="module")
def page_of_budgets(tmp_path_factory):
    return write_report(sweep(tmp_path_factory.mktemp("budgets"))).read_text()


def sweep(folder):
    """Results of a model at budgets 8, 16 and inf, and of one without budgets."""
    rows_of = {
        (model, budget): [{**row, "budget": budget} for row in make_rows(model, {"steps": tokens})]
        for model, budget, tokens in (("a", "8", 7), ("a", "16", 20), ("a", "inf", 30), ("b", "inf", 24))
    }
    for row in rows_of["a", "8"]:
        row["status"] = "incorrect"
    return write(folder, rows_of)


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def test_page_is_self_contained(folder, capsys):
    report([str(folder)])
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    page = (folder / "report.html").read_text()
    assert "default-src 'none'" in page and 'name="viewport"' in page
    assert not re.findall(r"<(?:script|img|iframe)[^>]+src=|url\((?!#)", page)
    assert re.findall(r'<link[^>]*href="([^"]*)"', page) == ["data:,"]
    assert re.findall(r'data-figure="(\w+)"', page) == ["frontier", "tokens_by_difficulty", "style_shares"]
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_page_shows_models_samples_and_provenance(folder):
    page = write_report(folder).read_text()
    rows = page.partition('<table id="table">')[2].partition("</table>")[0]
    assert re.findall(r'<th scope="row" data-v="([^"]+)"', rows) == ["base", "accuracy", "levin"]
    assert "needs 0.50 [0.50, 0.50] of the tokens of \u201caccuracy\u201d, is 0.0 points more accurate" in page
    assert "All 48 samples of 2 problems" in page and "<bdi>transformers</bdi>" in page
    data = data_of(page)
    assert [s["name"] for s in data["settings"]] == ["base", "accuracy", "levin"]
    assert (data["shown"], data["total"], len(data["problems"])) == (48, 48, 2)


def test_budgets_are_one_line_a_section_and_a_recommendation(page_of_budgets):
    assert re.findall(r'data-figure="(\w+)"', page_of_budgets)[:2] == ["frontier", "adherence"]
    assert "One problem at several budgets" in page_of_budgets
    chosen = re.findall(r'<tr data-limit="([\d.]+)"><td[^>]*>[^<]*</td><td><b><bdi>([^<]+)', page_of_budgets)
    assert [name for _, name in chosen] == ["a, budget 8", "a, budget 16"]
    kept = page_of_budgets.partition("over the budget")[2].partition("</table>")[0]
    assert "closed at the bound" not in page_of_budgets
    assert re.findall(r'<bdi>([^<]+)</bdi></th><td class="num">([^<]+)', kept) == [
        ("a, budget 8", "14.0"),
        ("a, budget 16", "40.0"),
    ]


@pytest.mark.parametrize("without", ["samples", "difficulty"])
def test_sections_without_data_are_left_out(rows_of, tmp_path, without):
    if without == "difficulty":
        rows_of = {model: [{**row, "difficulty": None} for row in rows] for model, rows in rows_of.items()}
    write(tmp_path, rows_of)
    if without == "samples":
        (tmp_path / "samples.jsonl").unlink()
    page = write_report(tmp_path).read_text()
    assert [f'id="{name}"' in page for name in ("samples", "problem", "data")] == [without != "samples"] * 3
    assert ("Time by difficulty" in page) == (without != "difficulty")
    assert 'data-figure="adherence"' not in page and "forecasts of its own" not in page


HOSTILE = "</script><script>throw 1</script><!-- \"' & \u202e\u0000 \ud800"


def test_the_models_are_what_their_cards_say(rows_of, tmp_path):
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


def test_a_hard_bound_says_how_often_it_closed_the_thinking(tmp_path):
    rows = [{**row, "budget": "16", "enforce": "hard"} for row in make_rows("a", {"steps": 7})]
    for i, row in enumerate(rows):
        row["stop_cause"] = "budget" if i % 4 == 0 else "natural"
    page = write_report(write(tmp_path, {"a": rows})).read_text()
    kept = page.partition("closed at the bound")[2].partition("</table>")[0]
    assert re.findall(r'<td class="num">([^<]+)', kept)[2] == "25.0 %" and "A hard bound cannot be overrun" in page


def test_hostile_text_is_text(rows_of, tmp_path):
    evil = {**rows_of["base"][0], "completion": HOSTILE, "prompt": HOSTILE, "reason": HOSTILE, "answer": HOSTILE}
    long = {**rows_of["base"][1], "completion": "x" * 100_000}
    model = "<b>base</b>"
    rows = [{**row, "model": model} for row in [evil, long, *rows_of["base"][2:]]]
    (record,) = make_records({model: rows})
    (tmp_path / "results.json").write_text(json.dumps({"records": [record]}))
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = write_report(tmp_path).read_text()
    assert page.count("<script") == 2 and page.count("</script>") == 2 and "<b>base" not in page
    texts = [sample[7] for sample in data_of(page)["samples"]]
    assert any("</script><script>throw 1</script>" in t and "\u27e8U+202E\u27e9\u27e8U+0000\u27e9" in t for t in texts)
    assert any("[... 96,000 characters left out ...]" in text for text in texts)

    class Balance(HTMLParser):
        open_tags: list = []

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "link", "input"):
                self.open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    parser = Balance()
    parser.feed(page)
    assert parser.open_tags == []


def test_a_value_head_gets_its_section_and_steps_their_values(rows_of, tmp_path):
    write(tmp_path, rows_of)
    bins = [{"forecast": p, "outcome": p + 0.05, "num": 10} for p in (0.1, 0.5, 0.9)]
    curve = {"tokens": [0, 8], "measured": [0.2, 0.9], "forecast": [0.25, 0.85]}
    kept = {"price": 0.003, "loss": 0.01, "delta": 0.1, "num_problems": 1000, "num_harms": 3}
    head = {"model": "levin", "task": "arithmetic", "reliability": bins, "anytime": curve, "guarantee": kept,
            "calibration_error": 0.05}  # fmt: skip
    steps = [{"text": "<st", "tokens": 3, "value": 0.7}, {"text": "eps>7", "tokens": 6, "value": 0.1}]
    row = {**rows_of["levin"][0], "status": "incorrect", "value_at_start": 0.4, "steps": steps}
    (tmp_path / "value.json").write_text(json.dumps({"heads": [head], "samples": [row]}))
    page = write_report(tmp_path).read_text()
    assert re.findall(r'data-figure="(\w+)"', page)[-2:] == ["anytime", "reliability"]
    assert "off by 5.0 points on average" in page and "with confidence 90 %: 3 of 1000" in page
    known = [sample[9] for sample in data_of(page)["samples"] if sample[9]]
    assert known == [[["<st", 0.3, 0.7, False], ["eps>7", -0.6, 0.1, True]]]
    (tmp_path / "value.json").write_text('{"heads": [{"task": "arithmetic"}]}')
    with pytest.raises(UserError, match="does not hold measures of a value head"):
        write_report(tmp_path)


def test_headline(rows_of):
    compared = headline("arithmetic", make_records(rows_of, "accuracy"))
    assert compared.startswith("On arithmetic, \u201clevin\u201d needs 0.50")
    assert "sooner: a speed-up of +0.9" in compared
    alone = headline("arithmetic", make_records({"base": rows_of["base"]}))
    assert alone == "On arithmetic, base has 91.7 % right with 16.0 tokens."


def test_figures_are_written_as_files(folder):
    report([str(folder), "--figures", "--output_path", str(folder / "deep" / "page.html")])
    names = {"arithmetic_frontier", "arithmetic_tokens_by_difficulty", "arithmetic_style_shares"}
    assert {p.name for p in (folder / "deep" / "figures").iterdir()} == {
        f"{n}.{e}" for n in names for e in ("png", "svg")
    }
    assert "var(--" not in (folder / "deep" / "figures" / "arithmetic_frontier.svg").read_text()


def test_several_folders_make_one_page(rows_of, tmp_path):
    for name in "xy":
        (tmp_path / name).mkdir()
        write(tmp_path / name, {"levin": rows_of["levin"]})
    report([str(tmp_path / "x"), str(tmp_path / "y")])
    page = (tmp_path / "x" / "report.html").read_text()
    assert [s["model"] for s in data_of(page)["settings"]] == ["levin", "y/levin"]
    with pytest.raises(UserError, match="name each folder once"):
        report([str(tmp_path / "x"), str(tmp_path / "y"), str(tmp_path / "y")])


def test_folders_of_one_name_are_told_apart_by_their_path(rows_of, tmp_path):
    folders = [tmp_path / name / "results" for name in "abc"]
    for folder in folders:
        folder.mkdir(parents=True)
        write(folder, {"levin": rows_of["levin"]})
    report([*map(str, folders), "--output_path", str(tmp_path / "page.html")])
    models = [s["model"] for s in data_of((tmp_path / "page.html").read_text())["settings"]]
    assert models == ["levin", "results/levin", "c/results/levin"]


def test_ten_runs_make_one_page(tmp_path):
    rows_of = {f"run {i}": make_rows(f"run {i}", {"steps": 4 + i}, num_samples=1) for i in range(10)}
    page = write_report(write(tmp_path, rows_of)).read_text()
    assert len(data_of(page)["settings"]) == 10 and "the other 6 are no more accurate" in page


def test_another_version_is_said_on_the_page(folder):
    results = json.loads((folder / "results.json").read_text())
    assert "may have been defined in another way" not in write_report(folder).read_text()
    results["provenance"]["versions"]["timecost"] = "99.0"
    (folder / "results.json").write_text(json.dumps(results))
    assert "was written by timecost 99.0" in write_report(folder).read_text()


@pytest.mark.parametrize(
    ("results", "message"),
    [("{", "is not a results file"), ("[]", "is not a results file"), ('{"records": []}', "holds no record"),
     ('{"records": [{"model": "a", "task": "t", "budget": "inf"}]}', "lacks"), (None, "holds no results.json"),
     ('{"records": [{"model": "a", "task": "t", "budget": "many", "accuracy": 1}]}', "something unexpected")],
)  # fmt: skip
def test_broken_results_are_one_line(results, message, tmp_path):
    if results is not None:
        (tmp_path / "results.json").write_text(results)
    (tmp_path / "samples.jsonl").touch()
    with pytest.raises(UserError, match=message) as error:
        report([str(tmp_path)])
    assert "\n" not in str(error.value) and not (tmp_path / "report.html").exists()
