"""Evaluation end to end on tiny untrained models, and its records from samples made by hand."""

import json

import pytest

from timecost.errors import UserError
from timecost.evaluation.evaluate import evaluate, run
from timecost.evaluation.records import compare, compare_all, make_record, pick_reference
from timecost.evaluation.results import read_results, read_samples, write_results

SETTINGS = {"num_samples": 2, "temperature": 1.0, "seed": 0, "split": "test"}


def row(problem, status="correct", tokens=10, *, model="m", difficulty=2, style="steps", **values):
    return {
        "model": model, "task": "t", "budget": "inf", "problem": problem, "sample": 0, "prompt": f"p{problem}",
        "answer": "7", "difficulty": difficulty, "completion": "7", "status": status, "score": 1.0, "reason": "",
        "thinking_tokens": tokens - 3, "answer_tokens": 3, "finished": True, "answered": True, "style": style, **values,
    }  # fmt: skip


def test_verifier_errors_are_counted_apart_and_never_as_wrong():
    rows = [row(0), row(0, "verifier_error"), row(1, "incorrect"), row(1), row(2, "verifier_error", tokens=90)]
    record = make_record(rows, SETTINGS)
    assert record["accuracy"] == pytest.approx((1 + 0.5) / 2)
    assert record["verifier_error_rate"] == pytest.approx(2 / 5)
    assert record["tokens_mean"] == pytest.approx(130 / 5)
    assert record["tokens_wrong_mean"] == 10


def test_rates_of_answers_and_of_truncation():
    rows = [row(0), row(1, "incorrect", finished=False, answered=False), row(2, finished=False), row(3)]
    record = make_record(rows, SETTINGS)
    assert (record["answer_rate"], record["truncation_rate"]) == (0.75, 0.5)
    assert record["enforce"] == "none" and record["overshoot_rate"] is None


def test_a_prompt_that_comes_twice_gives_no_pass_at_more_than_was_sampled():
    rows = [row(i // 2, "incorrect") for i in range(8)] + [row(9)] * 4
    assert list(make_record(rows, SETTINGS)["pass_at_k"]) == ["1", "2"]


def test_record_by_difficulty_and_style():
    rows = [
        row(0, style="direct", tokens=3),
        row(0, tokens=9),
        row(1, "incorrect", style="direct", tokens=3, difficulty=6),
    ]
    record = make_record(rows, SETTINGS)
    assert record["by_difficulty"]["2"]["accuracy"] == 1.0
    assert record["by_difficulty"]["2"]["tokens_mean"] == 6
    assert record["by_difficulty"]["2"]["styles"] == {"direct": 0.5, "steps": 0.5}
    cell = {"num_samples": 1, "accuracy": 0.0, "tokens_mean": 3.0}
    assert record["by_style"]["direct"]["6"] == {**cell, "usual": cell}
    assert record["styles"]["direct"] == pytest.approx(2 / 3)


def test_the_usual_length_of_a_style_leaves_out_traces_closed_early():
    rows = [row(i, tokens=33) for i in range(4)] + [row(i, "incorrect", tokens=9 + i) for i in range(3)]
    cell = make_record(rows, SETTINGS)["by_style"]["steps"]["2"]
    assert (cell["num_samples"], cell["accuracy"]) == (7, pytest.approx(4 / 7))
    assert cell["usual"] == {"num_samples": 4, "accuracy": 1.0, "tokens_mean": 33.0}


def test_record_of_a_task_without_difficulty_and_style():
    rows = [row(0, difficulty=None), row(1, difficulty=None)]
    for one in rows:
        del one["style"]
    record = make_record(rows, SETTINGS, reference=rows)
    assert record["by_difficulty"] == record["by_style"] == record["styles"] == {}
    assert record["allocation_slope"] is None
    assert record["speedup_bits"] == 0


def test_record_is_what_json_gives_back():
    record = make_record([row(0, "verifier_error")], SETTINGS)
    assert record["accuracy"] is None
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_comparison_pairs_problems_by_their_text():
    mine = [row(i, tokens=9, model="fast") for i in range(4)]
    theirs = [row(9 - i, tokens=19, model="slow", prompt=f"p{i}") for i in range(2)]
    compared = compare(mine, theirs)
    assert compared["reference"] == "slow"
    assert compared["num_problems_compared"] == 2
    assert compared["speedup_bits"] == pytest.approx(1)  # (19 + 1) / (9 + 1): the prompt costs one token
    assert compared["tokens_ratio"] == pytest.approx(9 / 19)
    with pytest.raises(UserError, match="no problem of t in common"):
        compare(mine, [row(0, prompt="another")])


def test_savant_is_more_accurate_and_not_faster():
    reference = [row(i, status, model="ref") for i in range(20) for status in ("correct", "incorrect")]
    slow = [row(i, tokens=40) for i in range(20) for _ in range(2)]
    fast = [row(i, tokens=5) for i in range(20) for _ in range(2)]
    assert compare(slow, reference)["savant"] and not compare(fast, reference)["savant"]


def test_compare_all_measures_every_record_against_one_model(tmp_path):
    for model, tokens in {"slow": 19, "fast": 9}.items():
        rows = [row(i, model=model, tokens=tokens) for i in range(3)]
        write_results(tmp_path, make_record(rows, SETTINGS), rows)
    compare_all(tmp_path, "slow")
    bits = {record["model"]: record["speedup_bits"] for record in read_results(tmp_path)["records"]}
    assert bits == pytest.approx({"slow": 0, "fast": 1})


def test_pick_reference_asks_which_of_several_models():
    samples = [row(0, model="a"), row(0, model="base")]
    assert pick_reference(samples, "t", "a") == samples[:1]
    for arguments, message in ((("t",), "say which"), (("t", "bass"), "did you mean 'base'"), (("u",), "no samples")):
        with pytest.raises(UserError, match=message):
            pick_reference(samples, *arguments)


def test_evaluate_arithmetic(tiny_arithmetic, tmp_path):
    argv = ["--model_name_or_path", tiny_arithmetic, "--tasks", "arithmetic", "--num_problems", "18", "--num_samples"]
    argv += ["2", "--max_completion_length", "12", "--output_path", str(tmp_path), "--label"]
    run([*argv, "first"])
    run([*argv, "second", "--seed", "1", "--reference", str(tmp_path)])
    first, second = read_results(tmp_path)["records"]
    assert (first["model"], first["num_problems"], first["num_samples"]) == ("first", 18, 2)
    assert first["speedup_bits"] is None and second["reference"] == "first"
    assert set(first["by_difficulty"]) == {str(d) for d in range(2, 11)}
    rows = read_samples(tmp_path, lambda row: row["model"] == "first")
    assert len(rows) == 36
    assert {row["status"] for row in rows} <= {"correct", "incorrect"}
    assert max(row["thinking_tokens"] + row["answer_tokens"] for row in rows) == 12
    assert [row["completion"] for row in rows] != [row["completion"] for row in read_samples(tmp_path)[36:]]


def test_evaluate_with_a_chat_template(tiny_qwen3, data_dir):
    record = evaluate(tiny_qwen3, "gsm8k", num_problems=2, num_samples=2, max_completion_length=4)
    assert (record["task"], record["num_problems"], record["tokens_p95"]) == ("gsm8k", 2, 4)


def test_a_record_holds_rates_of_budgets_and_stop_causes():
    budget = {"budget": "8", "enforce": "soft"}
    rows = [row(0, tokens=13, stop_cause="budget", seconds=0.5, **budget), row(1, stop_cause="natural", **budget)]
    record = make_record(rows, SETTINGS)
    assert (record["budget"], record["enforce"], record["overshoot_rate"]) == ("8", "soft", 0.5)  # 10 and 7 of 8
    assert record["stop_causes"] == {"budget": 0.5, "natural": 0.5}
    assert record["seconds_mean"] is None, "one sample has no time"


def test_a_reference_at_several_budgets_is_the_one_without_a_bound():
    samples = [row(0, budget="8"), row(0), row(0, budget="16")]
    assert pick_reference(samples, "t") == [samples[1]]
    with pytest.raises(UserError, match="at several budgets and not at inf"):
        pick_reference([samples[0], samples[2]], "t")


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--budgets", "64"], "no budget tokens"), (["--tasks", "arithmetik"], "did you mean 'arithmetic'"),
     (["--num_samples", "0"], "num_samples is 0"), (["--temperature", "-1"], "temperature is -1"),
     (["--split", "tset"], "no split 'tset'"), (["--num_problem", "3"], "did you mean '--num_problems'"),
     (["--model_name_or_path", "./nowhere"], "no model at './nowhere'"), (["--reference", "nowhere"], "no folder"),
     (["--reference_model", "a"], "--reference, which is missing"), (["--seed", "x"], "invalid int value")],
)  # fmt: skip
def test_wrong_options_are_one_line(tiny_arithmetic, tmp_path, options, message):
    argv = ["--model_name_or_path", tiny_arithmetic, "--tasks", "arithmetic", "--output_path", str(tmp_path / "out")]
    with pytest.raises(UserError, match=message) as error:
        run([*argv, *options])
    assert "\n" not in str(error.value)
