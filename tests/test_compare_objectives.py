"""The comparison of objectives: what is made, and measures, ranking and pages on samples made up for it."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import compare_objectives as compare  # noqa: E402
import render_results  # noqa: E402
from objective_phases import PHASES, family, plan, run_of  # noqa: E402

from timecost.evaluation.results import finite  # noqa: E402


def arguments(tmp_path, **changes):
    values = {"steps": 6, "num_problems": 40, "num_samples": 2, "paper_options": False, "objectives": None}
    values |= {"work_dir": tmp_path / "work", "output_path": tmp_path / "results"}
    return argparse.Namespace(**(values | changes))


def write_run(folder: Path, name: str, accuracy: float, tokens: int, num_problems: int = 50):
    rows = []
    for problem in range(num_problems):
        for sample in range(4):
            status = "correct" if problem * 4 + sample < 200 * accuracy else "incorrect"
            rows.append(
                {"model": name, "task": "arithmetic", "budget": "inf", "prompt": f"p{problem}", "answer": "1",
                 "difficulty": 2 + problem % 3, "status": status, "thinking_tokens": tokens - 3, "answer_tokens": 3,
                 "style": "steps"}
            )  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_comparison_is_summarised_ranked_and_rendered(tmp_path, monkeypatch):
    args = arguments(tmp_path, objectives="levin,linear,kimi")
    work = args.work_dir / "screen"
    write_run(work / "base" / "validation", "base", 0.95, 40)
    reached = {"accuracy": (0.99, 40), "levin": (0.985, 20), "linear": (0.975, 16), "kimi": (0.7, 8)}
    planned = plan("screen", args)
    for name, value, run in planned:
        if name == "linear" and value == 0.01:
            (work / run.name).mkdir(parents=True)
            (work / run.name / "failed.txt").write_text("error: no\n")
            continue
        write_run(work / run.name / "validation", name, *reached[family(name)])
    result = compare.summarise("screen", args, planned)
    assert [row["objective"] for row in result["ranking"]] == ["levin", "accuracy", "linear", "kimi"]
    assert result["ranking"][0]["tokens_at"] == pytest.approx(20)
    assert result["arms"][0]["styles"] == {"2": {"steps": 1.0}, "3": {"steps": 1.0}, "4": {"steps": 1.0}}
    num_kimi = sum(row["objective"] == "kimi" for row in result["arms"])
    by_style = [cells["steps"] for cells in result["arms"][0]["accuracy_of_styles"].values()]
    assert sum(by_style) / 3 == pytest.approx(result["arms"][0]["accuracy"], abs=0.01)
    mean = sum(row["tokens_mean"] for row in result["arms"]) / len(result["arms"])
    assert [point[0] for point in result["best_choice"]["points"]] == [pytest.approx(mean)], "there is one style"
    assert mean < result["best_choice"]["tokens_at"] < 40, "towards accuracy's own"
    assert [row["collapses"] for row in result["ranking"]] == [0, 0, 0, num_kimi], "70 % right is no answer"
    assert [failure["run"] for failure in result["failures"]] == ["linear_price=0.01-0"]
    against = result["against_best_rival"]
    assert against["tokens_at_rival"] == "linear" and against["tokens_at_ratio"] < 1
    assert against["tokens_at_ratio_low"] <= against["tokens_at_ratio"] <= against["tokens_at_ratio_high"]
    (tmp_path / "results").mkdir()
    content = {"result": finite(result), "provenance": {"commit": "x", "command": "y"}}
    (tmp_path / "results" / "objectives_screen.json").write_text(json.dumps(content))
    monkeypatch.setattr(render_results, "RESULTS", tmp_path / "results")
    text = render_results.objectives_section("screen")
    assert "levin time_elasticity=0.05" in text and "`linear_price=0.01-0` failed: error: no" in text
    later = plan("final", args)
    assert {family(name) for name, _, _ in later} == {"accuracy", "levin", "linear", "kimi"}
    assert len(later) == 12, "one arm of each objective"
    assert [run.overrides["seed"] for _, _, run in later[:5]] == [10] * 4 + [11], "seed by seed"
    assert {run.overrides["seed"] for _, _, run in later} == set(PHASES["final"].seeds)


@pytest.mark.parametrize("left", [["accuracy"], ["levin"]])
def test_one_arm_is_no_comparison(tmp_path, left):
    args = arguments(tmp_path)
    write_run(args.work_dir / "screen" / "base" / "validation", "base", 0.95, 40)
    planned = [entry for entry in plan("screen", args) if entry[0] in left][:1]
    write_run(args.work_dir / "screen" / planned[0][2].name / "validation", "one", 0.99, 40)
    with pytest.raises(SystemExit, match="nothing to compare"):
        compare.summarise("screen", args, planned)


def test_a_ratio_is_unknown_where_the_rival_may_have_no_area():
    """Half of the resamples give it none: without them the upper end would be 2."""
    ranking = [{"objective": name, "hypervolume": 0.1, "tokens_at": 20} for name in ("levin", "kimi")]
    tokens = {"tokens_at": (20.0, np.full(4, 20.0))}
    measures = {
        "levin": {"hypervolume": (0.2, np.full(4, 0.2)), **tokens},
        "kimi": {"hypervolume": (0.1, np.array([0.1, 0.0, 0.1, 0.0])), **tokens},
    }
    against = finite(compare.against_rivals(ranking, measures))
    assert against["hypervolume_ratio"] is None and against["hypervolume_ratio_high"] is None
    assert against["tokens_at_ratio"] == 1
    measures["kimi"]["hypervolume"] = (0.1, np.full(4, 0.1))
    assert compare.against_rivals(ranking, measures)["hypervolume_ratio_high"] == 2


@pytest.mark.parametrize("flags", [[], ["--summarise_only"]])
def test_other_settings_are_refused_before_anything_is_made(tmp_path, monkeypatch, flags):
    made = []
    monkeypatch.setattr(compare, "make", lambda run, folder: made.append(run.name))
    *_, last = plan("tune", arguments(tmp_path, steps=None, num_problems=None, num_samples=4))
    compare.make_or_note(last[2], tmp_path / "tune")
    assert made.pop() == last[2].name
    monkeypatch.setattr(sys, "argv", ["compare", "--phase", "tune", "--work_dir", str(tmp_path), *flags])
    with pytest.raises(SystemExit, match="other settings"):
        compare.main()
    assert not made


def test_without_runs_there_is_nothing_to_summarise(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["compare", "--phase", "tune", "--work_dir", str(tmp_path), "--summarise_only"])
    with pytest.raises(SystemExit, match="holds no finished base"):
        compare.main()


def test_a_run_that_fails_is_noted(tmp_path, monkeypatch):
    def fails(run, folder):
        (folder / run.name / "log.txt").write_text("step 1\nerror: the loss is nan\n")
        raise subprocess.CalledProcessError(2, "timecost")

    monkeypatch.setattr(compare, "make", fails)
    run = run_of("screen", "levin", 0.05, 0, arguments(tmp_path))
    compare.make_or_note(run, tmp_path)
    assert (tmp_path / run.name / "failed.txt").read_text() == "error: the loss is nan\n"
    monkeypatch.setattr(compare, "make", lambda run, folder: None)
    compare.make_or_note(run, tmp_path)
    assert not (tmp_path / run.name / "failed.txt").exists(), "another try"
