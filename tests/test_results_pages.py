"""The pages of results say what the JSON files of docs/results say, and nothing else."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ("render_results", "results.md"),
    ("render_bmojo", "bmojo_results.md"),
    ("render_value", "value_results.md"),
]


@pytest.mark.parametrize(("script", "page"), PAGES)
def test_the_page_is_up_to_date(script, page, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.chdir(ROOT)
    rendered = importlib.import_module(script).render()
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == rendered, f"run python scripts/{script}.py"
