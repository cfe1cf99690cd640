"""The figures of a comparison of objectives show what is in its results."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import objective_plots as plots  # noqa: E402


def drawn(result, tmp_path) -> str:
    plots.plot(result, tmp_path / "images" / "objectives")
    assert (tmp_path / "images" / "objectives.png").stat().st_size > 1000
    return (tmp_path / "images" / "objectives.svg").read_text()


@pytest.fixture
def result():
    return json.loads((ROOT / "docs/results/objectives_tune.json").read_text())["result"]


def test_objectives_with_several_arms_have_a_panel_each(result, tmp_path):
    next(row for row in result["arms"] if row["objective"] == "kimi")["accuracy"] = 0.7
    text = drawn(result, tmp_path)
    assert all(f"<!-- {name} -->" in text for name in ("levin", "kimi", "alp"))
    assert "<!-- 70 % -->" in text, "what lies below the floor has its value told"


def test_arms_of_one_point_share_a_panel(result, tmp_path):
    result["arms"] = list({row["objective"]: row for row in result["arms"]}.values())
    text = drawn(result, tmp_path)
    assert "<!-- a point less -->" in text
    for row in result["arms"]:
        assert row["objective"] == "accuracy" or f"<!-- {row['arm']} {row['strength']} -->" in text
