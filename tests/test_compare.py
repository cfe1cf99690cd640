"""`timecost compare`: paired differences of runs made alike, and refusals that name what differs."""

import json
from pathlib import Path

import pytest

from timecost.errors import UserError
from timecost.evaluation.compare import compare_runs, run
from timecost.evaluation.records import make_record
from timecost.evaluation.results import RESULTS, write_results

SETTINGS = {"split": "test", "num_samples": 2, "temperature": 1.0, "seed": 0, "max_completion_length": 64}


def rows_of(model, tokens, status="correct", **values):
    return [
        {
            "model": model, "task": "t", "budget": "inf", "problem": i, "sample": j, "prompt": f"p{i}", "answer": "7",
            "difficulty": None, "completion": f"{j}", "status": status, "score": 1.0, "reason": "",
            "thinking_tokens": tokens - 3, "answer_tokens": 3, "finished": True, "answered": True, **values,
        }
        for i in range(4)
        for j in range(2)
    ]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """`folder(name, rows, **settings)` writes a run and returns its path."""

    def write(name, rows, **settings):
        write_results(tmp_path / name, make_record(rows, {**SETTINGS, **settings}), rows)
        return str(tmp_path / name)

    return write


def test_answers_of_another_reserve_are_not_made_alike(folder):
    short, long, free = (folder(f"m{n}", rows_of("m", 9), max_answer_tokens=n) for n in (4, 32, None))
    with pytest.raises(UserError, match="max_answer_tokens is 4 in A and 32 in B"):
        compare_runs(short, long)
    compare_runs(short, free)


def test_differences_are_printed_and_written(folder, tmp_path, capsys):
    a, b = folder("a", rows_of("fast", 9)), folder("b", rows_of("slow", 19), seed=1)
    run([a, b, "--output_path", str(tmp_path / "out" / "compared.json")])
    out = capsys.readouterr().out
    assert "fast against slow" in out and "+1.00 [+1.00, +1.00]" in out
    written = json.loads((tmp_path / "out" / "compared.json").read_text())
    (one,) = written["comparisons"]
    assert one["speedup_bits"] == pytest.approx(1)  # (19 + 1) / (9 + 1)
    assert (one["accuracy_difference"], one["num_problems_compared"]) == (0, 4)


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (rows_of("m", 9), {"temperature": 0.6}, "sampling: temperature is 1.0 in A and 0.6 in B"),
        (rows_of("m", 9)[:-2], {}, "problems: 1 only in A, 0 only in B"),
        (rows_of("m", 9, status="incorrect"), {}, "verifiers: 8 completions of B have another verdict"),
        (rows_of("m", 9, budget="64"), {}, "no task at the same budget in common"),
    ],
)
def test_runs_made_differently_are_refused_in_one_line(folder, rows, settings, message):
    with pytest.raises(UserError, match=message) as error:
        compare_runs(folder("a", rows_of("m", 9)), folder("b", rows, **settings))
    assert "\n" not in str(error.value)


def test_another_form_of_the_prompt_is_refused(folder):
    rows = rows_of("m", 9)
    chat = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in rows]
    with pytest.raises(UserError, match="prompts: 4 problems are asked in another form"):
        compare_runs(folder("a", rows), folder("b", chat))


def test_results_of_another_version_are_refused(folder):
    a, b = folder("a", rows_of("m", 9)), folder("b", rows_of("m", 9))
    path = Path(b) / RESULTS
    results = json.loads(path.read_text())
    results["provenance"]["versions"]["timecost"] = "0.0.1"
    path.write_text(json.dumps(results))
    with pytest.raises(UserError, match="by 0.0.1: evaluate both with one"):
        compare_runs(a, b)


def test_of_several_models_one_must_be_named(folder):
    for model, tokens in (("fast", 9), ("slow", 19)):
        both = folder("both", rows_of(model, tokens))
    with pytest.raises(UserError, match="say which: --model_a fast.slow"):
        compare_runs(both, both)
    with pytest.raises(UserError, match="no model 'slwo', did you mean 'slow'"):
        compare_runs(both, both, "fast", "slwo")
    compared = compare_runs(both, both, "fast", "slow")
    assert compared["comparisons"][0]["tokens_ratio"] == pytest.approx(9 / 19)


def sweep(folder, name, tokens, *ways, **settings):
    """A run at budget 8, enforced in several ways, and at inf."""
    for budget, enforce in [*(("8", way) for way in ways), ("inf", "none")]:
        path = folder(name, rows_of(name, tokens, budget=budget, enforce=enforce), **settings)
    return path


def test_each_way_to_enforce_is_compared_with_the_same(folder):
    compared = compare_runs(sweep(folder, "a", 9, "none", "hard"), sweep(folder, "b", 19, "none", "soft"))
    assert [(one["budget"], one["enforce"]) for one in compared["comparisons"]] == [
        ("8", ["none", "none"]), ("inf", ["none", "none"]),
    ]  # fmt: skip
    assert compared["left_out"] == ["t at budget 8 (hard)", "t at budget 8 (soft)"]


def test_only_a_baseline_may_be_enforced_in_another_way(folder):
    a = sweep(folder, "a", 9, "none")
    with pytest.raises(UserError, match="sampling: enforce is none in A and hard in B"):
        compare_runs(a, sweep(folder, "b", 19, "hard"))
    compared = compare_runs(a, sweep(folder, "c", 19, "hard", baseline="truncation"))
    assert [one["enforce"] for one in compared["comparisons"]] == [["none", "none"], ["none", "hard"]]


def test_another_number_of_examples_is_refused(folder):
    with pytest.raises(UserError, match="sampling: num_fewshot is 4 in A and 0 in B"):
        compare_runs(folder("a", rows_of("m", 9), num_fewshot=4), folder("b", rows_of("m", 9)))
