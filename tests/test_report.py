"""The page as a file: what it says and what it carries. How it behaves in a browser is in test_report_page.py."""

import json
import re
from html.parser import HTMLParser

import pytest
from test_figures import make_records, make_rows

from timecost.errors import UserError
from timecost.evaluation.report import run as report
from timecost.evaluation.report import write_report
from timecost.evaluation.results import write_results


def three_models():
    return {"accuracy": make_rows("accuracy", {"steps": 12}), "base": make_rows("base", {"direct": 4, "steps": 12}),
            "levin": make_rows("levin", {"steps": 6})}  # fmt: skip


def write(folder, rows_of, reference=None):
    for record, rows in zip(make_records(rows_of, reference), rows_of.values(), strict=True):
        write_results(folder, record, rows)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, three_models(), "accuracy")


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


HOSTILE = "</script><script>throw 1</script><!-- \"' & \u202e\u0000 \ud800"


def test_hostile_text_is_text(tmp_path):
    rows = three_models()["base"]
    evil = {**rows[0], "completion": HOSTILE, "prompt": HOSTILE, "reason": HOSTILE, "answer": HOSTILE}
    long = {**rows[1], "completion": "x" * 100_000}
    model = "<b>base</b>"
    rows = [{**row, "model": model} for row in [evil, long, *rows[2:]]]
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


def test_figures_are_written_as_files(folder):
    report([str(folder), "--figures", "--output_path", str(folder / "deep" / "page.html")])
    names = {"arithmetic_frontier", "arithmetic_tokens_by_difficulty", "arithmetic_style_shares"}
    assert {p.name for p in (folder / "deep" / "figures").iterdir()} == {
        f"{n}.{e}" for n in names for e in ("png", "svg")
    }
    assert "var(--" not in (folder / "deep" / "figures" / "arithmetic_frontier.svg").read_text()


@pytest.mark.parametrize(
    ("results", "message"),
    [("{", "is not a results file"), ("[]", "is not a results file"), ('{"records": []}', "holds no record"),
     ('{"records": [{"model": "a", "task": "t", "budget": "inf"}]}', "lacks"), (None, "holds no results.json"),
     ('{"records": [{"model": "a", "task": "t", "budget": "many", "accuracy": 1}]}', "something unexpected"),
     ('{"records": [{"model": "a", "task": "t", "budget": "inf"}], "sweeps": [{}]}', "lacks 'model'")],
)  # fmt: skip
def test_broken_results_are_one_line(results, message, tmp_path):
    if results is not None:
        (tmp_path / "results.json").write_text(results)
    (tmp_path / "samples.jsonl").touch()
    with pytest.raises(UserError, match=message) as error:
        report([str(tmp_path)])
    assert "\n" not in str(error.value) and not (tmp_path / "report.html").exists()


def test_a_page_that_cannot_be_written_or_a_base_that_is_not_there_is_one_line(folder):
    with pytest.raises(UserError, match=f"is a folder: name a file to write the page to, such as {folder}/report.html"):
        report([str(folder), "--output_path", str(folder)])
    with pytest.raises(UserError, match="no record is of a model 'levn', did you mean 'levin'"):
        report([str(folder), "--base", "levn"])


@pytest.mark.parametrize("path", [{}, {"model_name_or_path": None}])
def test_a_record_of_an_unknown_model_goes_into_no_card(tmp_path, monkeypatch, path):
    rows = three_models()["levin"]
    (record,) = make_records({"levin": rows})
    write_results(tmp_path, {**record, **path}, rows)
    (tmp_path / "README.md").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="the results hold no record of the model in '.'"):
        report([".", "--model_card", "."])
