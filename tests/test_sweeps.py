"""A sweep worked out by hand: two problems, four samples each, at no thinking, a budget of 10 and no bound."""

import pytest

from timecost.evaluation.records import make_record
from timecost.evaluation.results import key_of
from timecost.evaluation.sweeps import sweeps_of

# thinking and answer tokens, and whether it is right, of each sample on the first problem and the second
AT_ZERO = [[(0, 2, 1), (0, 2, 0), (0, 2, 1), (0, 2, 0)], [(0, 2, 0)] * 4]
AT_TEN = [[(6, 2, 1)] * 4, [(10, 2, 1), (10, 2, 0), (12, 2, 1), (10, 9, 0)]]
AT_INF = [[(5, 2, 1)] * 4, [(20, 2, 1)] * 4]


def samples(budget, cells, **told):
    return [
        {
            "model": "m", "task": "t", "budget": budget, "enforce": "none", "problem": problem, "sample": number,
            "prompt": f"p{problem}", "answer": "1", "difficulty": 1, "completion": "", "status": "correct" if right
            else "incorrect", "score": float(right), "thinking_tokens": thinking, "answer_tokens": answer,
            "finished": True, "answered": True, **told,
        }
        for problem, cell in enumerate(cells) for number, (thinking, answer, right) in enumerate(cell)
    ]  # fmt: skip


def sweep(**budgets):
    rows = [row for budget, cells in budgets.items() for row in samples(budget.removeprefix("b"), cells)]
    settings = {"max_completion_length": 40}
    records = [
        make_record([row for row in rows if key_of(row) == key], settings) for key in dict.fromkeys(map(key_of, rows))
    ]
    return sweeps_of(records, rows)


def test_the_frontier_and_what_an_accuracy_costs():
    (found,) = sweep(binf=AT_INF, b0=AT_ZERO, b10=AT_TEN)
    assert found["budgets"] == found["frontier"] == ["0", "10", "inf"]
    assert [point["accuracy"] for point in found["points"]] == [0.25, 0.75, 1.0]
    assert [point["tokens_mean"] for point in found["points"]] == [2, 11.125, 14.5]
    assert found["accuracy_rises"] and found["tokens_rise"]
    assert found["tokens_at_accuracy"]["0.5"] == pytest.approx((2 + 11.125) / 2)
    assert found["tokens_within_one_point"] == pytest.approx(14.5 - 0.01 / 0.25 * (14.5 - 11.125))
    area = 0.25 * (11.125 - 2) + 0.75 * (14.5 - 11.125) + 1.0 * (40 - 14.5)
    assert found["hypervolume"] == pytest.approx(area / 40) and found["hypervolume_max_tokens"] == 40
    assert found["hypervolume_low"] <= found["hypervolume"] <= found["hypervolume_high"]


def test_how_a_budget_is_kept():
    (found,) = sweep(b0=AT_ZERO, b10=AT_TEN, binf=AT_INF)
    zero, ten, inf = found["points"]
    assert ten["binding_rate"] == 0.5, "the second problem takes 20 when it may"
    assert ten["adherence_error"] == pytest.approx(0.2 / 4) and ten["over_rate"] == 1 / 8
    assert ten["escape_rate"] == 1 / 8, "one answer goes on where the thinking was to end"
    assert zero["adherence_error"] is None and inf["escape_rate"] is None
    assert zero["anytime_area"] == pytest.approx(0.25 * (40 - 2) / 40, abs=0.01)


def test_a_sweep_needs_a_bound_and_something_beside_it():
    assert sweep(b0=AT_ZERO, binf=AT_INF) == [] == sweep(b10=AT_TEN)
    (found,) = sweep(b0=AT_ZERO, b10=AT_TEN)
    assert found["tokens_within_one_point"] is None and found["points"][1]["binding_rate"] is None
