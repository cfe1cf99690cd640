import json

import pytest

from timecost.errors import UserError
from timecost.evaluation.value_data import failure_point, marginal_values, measured_head, read_value, steps_of


def row(values, start=None, status="incorrect"):
    return {
        "value_at_start": start,
        "status": status,
        "steps": [{"text": "s", "tokens": 1, "value": v} for v in values],
    }


def test_marginal_values_are_differences():
    assert marginal_values(row([0.5, 0.75, 0.25], start=0.25)) == [0.25, 0.25, -0.5]
    assert marginal_values(row([0.5, 0.75])) == [None, 0.25]


def test_the_failure_point_is_where_one_half_is_lost_for_good():
    assert failure_point(row([0.6, 0.2, 0.7, 0.4, 0.1])) == 3
    assert failure_point(row([0.4, 0.1], start=0.6)) == 0
    assert failure_point(row([0.4, 0.1])) is None, "never within reach"
    assert failure_point(row([0.6, 0.9])) is None, "the answer itself went wrong"
    assert failure_point(row([0.6, 0.1], status="correct")) is None


def test_a_head_is_measured_from_probed_traces(tmp_path):
    # two traces of 8 and 4 tokens; the second ends right
    points = {"trace": [0, 0, 0, 1, 1], "position": [0, 4, 8, 0, 2], "value": [0.2, 0.4, 0.6, 0.0, float("nan")],
              "forecast": [0.3, 0.5, 0.7, 0.1, 0.9]}  # fmt: skip
    head = measured_head("m", "t", **points, num_thinking=[8, 4], end_value=[0.6, 1.0], num_bins=2)
    assert head["calibration_error"] == pytest.approx(0.1)
    assert [one["num"] for one in head["reliability"]] == [2, 2]
    curve = dict(zip(head["anytime"]["tokens"], head["anytime"]["measured"], strict=True))
    assert (curve[0], curve[4], curve[8]) == pytest.approx((0.1, 0.7, 0.8))
    assert curve[2] == pytest.approx(0.2), "the second trace was not probed there"
    (tmp_path / "value.json").write_text(json.dumps({"heads": [head]}))
    assert read_value(tmp_path)["heads"] == [head]


def test_steps_are_cut_at_the_boundaries():
    decode = lambda ids: "".join("abcdef"[i] for i in ids)  # noqa: E731
    found = steps_of(decode, [0, 1, 2, 3, 4, 5], [0, 2, 5], [0.25, 0.5, 0.75])
    assert found["value_at_start"] == 0.25
    assert found["steps"] == [{"text": "ab", "tokens": 2, "value": 0.5}, {"text": "cde", "tokens": 5, "value": 0.75}]
    assert marginal_values(found) == [0.25, 0.25]


def test_samples_may_leave_out_what_is_not_shown_of_steps(tmp_path):
    short = {**row([0.5]), "model": "m", "task": "t", "budget": "inf", "prompt": "p", "answer": "a", "completion": "s"}
    (tmp_path / "value.json").write_text(json.dumps({"samples": [short]}))
    (found,) = read_value(tmp_path)["samples"]
    assert (found["thinking_tokens"], found["difficulty"], found["finished"]) == (1, None, True)


def test_a_folder_without_a_value_head_has_no_data(tmp_path):
    assert read_value(tmp_path) == {"heads": [], "samples": []}


@pytest.mark.parametrize(
    "value", ["{", "[]", {"heads": [{"model": "a"}]}, {"samples": [{"model": "a"}]},
              {"heads": [{"model": "a", "task": "t", "anytime": {"tokens": [0], "measured": [0.1, 0.2]}}]},
              {"heads": [{"model": "a", "task": "t", "reliability": [{"forecast": "x"}]}]}],
)  # fmt: skip
def test_broken_data_are_one_line(value, tmp_path):
    (tmp_path / "value.json").write_text(value if isinstance(value, str) else json.dumps(value))
    with pytest.raises(UserError, match="does not hold measures of a value head"):
        read_value(tmp_path)


@pytest.mark.parametrize("broken", [{"layers": [[[9, 5]]]}, {"layers": [[[0, 0]]]}, {"window": 0}, {"num_prompt": 4}])
def test_a_memory_that_does_not_fit_together_is_one_line(broken, tmp_path):
    key = {"model": "m", "task": "t", "budget": "inf"}
    memory = {"window": 2, "size": 1, "num_prompt": 1, "tokens": ["a", "b", "c"], "layers": [[[0, 2]]]}
    (tmp_path / "value.json").write_text(json.dumps({"samples": [{**key, "memory": memory}]}))
    assert read_value(tmp_path)["samples"][0]["memory"] == memory
    (tmp_path / "value.json").write_text(json.dumps({"samples": [{**key, "memory": {**memory, **broken}}]}))
    with pytest.raises(UserError, match="value.json' does not hold measures"):
        read_value(tmp_path)
