"""docs/reference.md says what the docstrings say."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("render_reference", ROOT / "scripts" / "render_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(reference):
    assert reference.PATH.read_text(encoding="utf-8") == reference.render(), "run python scripts/render_reference.py"


def test_it_holds_fields_objectives_and_metrics(reference):
    page = reference.render()
    assert "| `time_elasticity` | `float` | `0.05` | Objective levin:" in page
    assert "| `scale_rewards` | `str` | `'none'` |" in page and "| `learning_rate` |" not in page
    assert all(f"\n### {name}\n" in page for name in ("levin", "speedup_bits", "adherence"))
    assert "_gain" not in page and ">>> levin(" in page
