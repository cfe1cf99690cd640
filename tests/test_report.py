import base64
import re
from html.parser import HTMLParser

import pytest
from test_figures import make_records, make_rows

from timecost.errors import UserError
from timecost.evaluation.report import MAX_SHOWN, headline, shorten, write_report
from timecost.evaluation.report import run as report
from timecost.evaluation.results import write_results


@pytest.fixture
def rows_of():
    return {"accuracy": make_rows("accuracy", {"steps": 12}), "base": make_rows("base", {"direct": 4, "steps": 12}),
            "levin": make_rows("levin", {"steps": 6})}  # fmt: skip


@pytest.fixture
def folder(rows_of, tmp_path):
    for record, rows in zip(make_records(rows_of, "accuracy"), rows_of.values(), strict=True):
        write_results(tmp_path, record, rows)
    return tmp_path


def test_page_is_self_contained(folder, capsys):
    report([str(folder)])
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    page = (folder / "report.html").read_text()
    assert "<script" not in page and "<link" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    uris = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(uris) == 3
    assert all(b"</svg>" in base64.b64decode(uri) for uri in uris)
    assert 'name="viewport"' in page


def test_page_shows_models_examples_and_provenance(folder):
    page = write_report(folder).read_text()
    cells = re.findall(r'<tr><td><span class="dot"[^>]*></span>([^<]+)', page)
    assert cells == ["base", "accuracy", "levin"]
    assert "needs 0.50 [0.50, 0.50] of the tokens of \u201caccuracy\u201d, is 0.0 points more accurate" in page
    assert page.count("<b>7</b>") == 2  # both problems
    assert "<dt>transformers</dt>" in page


def test_what_models_write_is_escaped(folder):
    page = write_report(folder).read_text()
    assert "&lt;steps&gt;7" in page and "2&lt;1=" in page
    assert "<steps>" not in page

    class Balance(HTMLParser):
        open_tags: list = []

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img"):
                self.open_tags.append(tag)

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    parser = Balance()
    parser.feed(page)
    assert parser.open_tags == []


def test_headline(rows_of):
    compared = headline("arithmetic", make_records(rows_of, "accuracy"))
    assert compared.startswith("On arithmetic, \u201clevin\u201d needs 0.50")
    assert "sooner: a speed-up of +0.9" in compared
    alone = headline("arithmetic", make_records({"base": rows_of["base"]}))
    assert alone == "On arithmetic, base has 91.7 % right with 16.0 tokens."


def test_long_completions_are_shortened():
    assert shorten("x" * MAX_SHOWN) == "x" * MAX_SHOWN
    assert "[...]" in shorten("x" * (MAX_SHOWN + 1))


def test_a_task_without_difficulties_has_one_figure(tmp_path):
    rows = [{**row, "difficulty": None} for row in make_rows("m", {"steps": 5})]
    for record in make_records({"m": rows}):
        write_results(tmp_path, record, rows)
    page = write_report(tmp_path).read_text()
    assert page.count("<img") == 1 and "Difficulty" not in page


def test_a_folder_without_results_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no results.json"):
        report([str(tmp_path)])
    (tmp_path / "results.json").write_text('{"records": [{"model": "a", "task": "t", "budget": "inf"}]}')
    (tmp_path / "samples.jsonl").touch()
    with pytest.raises(UserError, match="lacks"):
        report([str(tmp_path)])
