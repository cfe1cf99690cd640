"""What the samples of trained models say, by hand: tokens at an accuracy, areas, styles, collapse."""

import sys
from math import log
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import objective_measures as measures  # noqa: E402


def rows_of(style, tokens, num_correct, num=4, difficulty=2):
    """Completions of one problem in one style."""
    row = {"prompt": f"p{difficulty}", "answer": "1", "difficulty": difficulty, "style": style}
    row |= {"thinking_tokens": tokens - 1, "answer_tokens": 1}
    return [{**row, "status": "correct" if i < num_correct else "incorrect"} for i in range(num)]


def test_a_table_holds_means_of_each_problem():
    rows = rows_of("steps", 8, 3) + rows_of("direct", 2, 1, num=1, difficulty=3)
    table = measures.table_of(rows, ["p3\n1", "p2\n1"])
    assert table["accuracy"].tolist() == [1, 0.75] and table["tokens"].tolist() == [2, 8]
    assert table["log_cost"] == pytest.approx([log(3), log(9)])


def test_styles_are_told_from_the_most_frequent_to_one_percent():
    rows = rows_of("direct", 2, 2, 60) + rows_of("steps", 8, 100, 140) + rows_of("rare", 3, 1, 1)
    shares, right = measures.styles_of(rows_of("steps", 8, 1, difficulty=10) + rows)
    assert shares == {"2": {"steps": 0.697, "direct": 0.299}, "10": {"steps": 1.0}}
    assert right == {"2": {"steps": 0.7143, "direct": 0.0333}, "10": {"steps": 0.25}}
    assert list(shares) == ["2", "10"] and list(shares["2"]) == ["steps", "direct"]


def test_the_best_style_is_that_of_the_highest_value():
    rows = rows_of("steps", 8, 30, 30) + rows_of("direct", 2, 20, 30) + rows_of("lucky", 1, 29, 29)
    best, reached = measures.best_style(rows)
    assert best == "steps" and reached == pytest.approx(-0.05 * log(9)), "29 are too few"
    assert measures.best_style(rows_of("direct", 2, 20, 25))[0] == "all"


def test_resamples_draw_the_same_problems_for_every_arm_and_seeds_where_there_are_several():
    rng = np.random.default_rng(0)
    table = {"accuracy": rng.random(200), "tokens": rng.integers(9, 40, 200).astype(float)}
    shorter = {**table, "tokens": table["tokens"] - 5}
    resamples = measures.Resamples(200)
    point, drawn = resamples.points([table])
    _, other_drawn = resamples.points([shorter])
    assert point == pytest.approx([table["tokens"].mean(), table["accuracy"].mean()]) and drawn.shape == (1000, 2)
    assert drawn[:, 0].std() > 0.3 and drawn[:, 0] - other_drawn[:, 0] == pytest.approx(np.full(1000, 5.0))
    point, drawn = resamples.points([table, shorter])
    assert point[0] == pytest.approx(table["tokens"].mean() - 2.5)
    assert drawn[:, 0].std() > 1.5, "and which of two seeds"


def test_tokens_and_area_by_hand():
    """Baseline: 40 tokens at 0.99. A point of 20 tokens at 0.97 gives 30 at 0.98; the floor is 0.94."""
    baseline = (40.0, 0.99)
    assert measures.tokens_at([(20.0, 0.97)], baseline) == pytest.approx(30)
    assert measures.tokens_at([(20.0, 0.985)], baseline) == pytest.approx(20)
    assert measures.tokens_at([(50.0, 0.999)], baseline) == pytest.approx(40)
    assert measures.hypervolume([(20.0, 0.97)], baseline, 40.0, 0.94) == pytest.approx(0.5 * 0.03 / 0.06)
    assert measures.hypervolume([(20.0, 0.90)], baseline, 40.0, 0.94) == 0


def test_the_best_choice_pools_the_runs_that_use_a_style():
    """At difficulty 2, two runs think (8 tokens, 3 of 4 and all right), one does not (2 tokens, half right)."""

    def run(style, tokens, num_correct, num_others=0):
        row = {"difficulty": 2, "thinking_tokens": tokens - 1, "answer_tokens": 1}
        statuses = ["correct"] * num_correct + ["incorrect"] * (4 - num_correct)
        rows = [{**row, "style": style, "status": status} for status in statuses]
        return rows + [{**row, "style": "rare", "thinking_tokens": 0, "status": "correct"}] * num_others

    runs = [run("steps", 8, 3), run("steps", 8, 4), run("direct", 2, 2, num_others=3)]
    assert measures.best_choice(runs, min_completions=4) == [(2, 0.5), (8, 0.875)]
    assert measures.best_choice(runs, min_completions=5) == [(8, 0.875)], "too few to count"
    assert measures.best_choice(runs, min_completions=9) == []
