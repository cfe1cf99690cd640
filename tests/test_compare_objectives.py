"""The comparison of objectives: its settings, its rule of selection, and its measures on samples made up for it."""

import argparse
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import compare_objectives as compare  # noqa: E402
import render_results  # noqa: E402

from timecost.evaluation.results import finite  # noqa: E402
from timecost.objectives import REGISTRY  # noqa: E402


def arguments(tmp_path, **changes):
    values = {"steps": 6, "num_problems": 40, "num_samples": 2, "paper_options": False, "objectives": None}
    values |= {"work_dir": tmp_path / "work", "output_path": tmp_path / "results"}
    return argparse.Namespace(**(values | changes))


def test_every_objective_takes_part_with_three_strengths_or_none():
    assert {name for name, arm in compare.ARMS.items() if not arm.form_of} == set(REGISTRY)
    assert set(map(compare.family, compare.ARMS)) == set(REGISTRY)
    for arm in compare.ARMS.values():
        assert arm.form_of or (len(arm.values) == 1 if arm.strength is None else len(arm.values) >= 3)


def test_a_warmup_takes_half_of_the_run():
    settings = [compare.settings("levin_warmup", 0.15, steps, 0, False) for steps in (100, 200)]
    assert [run["price_warmup_steps"] for run in settings] == [50, 100]
    assert settings[0]["objective"] == "levin" and settings[0]["objective_kwargs"] == {"time_elasticity": 0.15}


@pytest.mark.slow
@pytest.mark.parametrize("paper_options", [False, True])
@pytest.mark.filterwarnings("ignore:scale_rewards")
def test_the_settings_of_every_run_are_accepted(tmp_path, paper_options):
    from timecost.config import TimeCostConfig

    planned = compare.plan("screen", arguments(tmp_path, paper_options=paper_options))
    assert len({run.name for _, _, run in planned}) == len(planned) == sum(len(a.values) for a in compare.ARMS.values())
    for _, _, run in planned:
        overrides = {name: value for name, value in run.overrides.items() if name != "num_train_problems"}
        config = TimeCostConfig(output_dir=str(tmp_path), bf16=False, report_to="none", **overrides)
        assert config.max_steps == 6 and (config.scale_rewards != "none") <= paper_options


def test_the_best_are_picked_with_the_baseline_and_ours():
    names = ["arora", "kimi", "accuracy", "linear", "levin", "lead"]
    ranking = [{"objective": name} for name in names]
    assert [row["objective"] for row in compare.pick(ranking, 2)] == ["accuracy", "arora", "kimi", "levin"]
    assert [row["objective"] for row in compare.pick(ranking, 4)] == ["accuracy", "arora", "kimi", "linear", "levin"]


def test_tokens_and_area_by_hand():
    """Baseline: 40 tokens at 0.99. A point of 20 tokens at 0.97 gives 30 at 0.98; the floor is 0.94."""
    baseline = (40.0, 0.99)
    assert compare.tokens_at([(20.0, 0.97)], baseline) == pytest.approx(30)
    assert compare.tokens_at([(20.0, 0.985)], baseline) == pytest.approx(20)
    assert compare.tokens_at([(50.0, 0.999)], baseline) == pytest.approx(40)
    assert compare.hypervolume([(20.0, 0.97)], baseline, 40.0, 0.94) == pytest.approx(0.5 * 0.03 / 0.06)
    assert compare.hypervolume([(20.0, 0.90)], baseline, 40.0, 0.94) == 0


def test_the_best_choice_pools_the_runs_that_use_a_style():
    """At difficulty 2, two runs think (8 tokens, 3 of 4 and all right), one does not (2 tokens, half right)."""

    def run(style, tokens, num_correct, num_others=0):
        row = {"difficulty": 2, "thinking_tokens": tokens - 1, "answer_tokens": 1}
        statuses = ["correct"] * num_correct + ["incorrect"] * (4 - num_correct)
        rows = [{**row, "style": style, "status": status} for status in statuses]
        return rows + [{**row, "style": "rare", "thinking_tokens": 0, "status": "correct"}] * num_others

    runs = [run("steps", 8, 3), run("steps", 8, 4), run("direct", 2, 2, num_others=3)]
    assert compare.best_choice(runs, min_completions=4) == [(2, 0.5), (8, 0.875)]
    assert compare.best_choice(runs, min_completions=5) == [(8, 0.875)], "too few to count"
    assert compare.best_choice(runs, min_completions=9) == []


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


def test_a_harder_family_gets_the_best_of_the_final_at_the_strengths_that_tuning_found(tmp_path):
    args = arguments(tmp_path)
    args.output_path.mkdir()

    def write(phase, *rows):
        ranking = [dict(zip(("objective", "arm", "strength"), row, strict=True)) for row in rows]
        (args.output_path / f"objectives_{phase}.json").write_text(json.dumps({"result": {"ranking": ranking}}))

    baseline = ("accuracy", "accuracy", None)
    write("final", ("kimi", "kimi", 0.1), ("levin", "levin_warmup", 0.15), baseline, ("lead", "lead", 0.2))
    with pytest.raises(SystemExit, match="run --phase tune first"):
        compare.plan("harder", args)
    (args.output_path / "objectives_tune.json").touch()
    with pytest.raises(SystemExit, match="holds no ranking: delete it"):
        compare.plan("harder", args)
    write("tune", ("levin", "levin", 0.1), ("kimi", "kimi", 0.05), baseline)
    planned = compare.plan("harder", args)
    assert {(name, value) for name, value, _ in planned} == {
        ("accuracy", None), ("kimi", 0.05), ("levin", 0.1), ("lead", 0.2)
    }  # fmt: skip
    assert {run.task for _, _, run in planned} == {"arithmetic_hard"}
    tuned = {(name, value) for name, value, _ in compare.plan("tune", args)}
    assert len(tuned) == 11 and {compare.family(name) for name, _ in tuned} == {"accuracy", "levin", "kimi", "alp"}


@pytest.mark.slow
def test_a_comparison_is_summarised_ranked_and_rendered(tmp_path, monkeypatch):
    args = arguments(tmp_path, objectives="levin,linear,kimi")
    work = args.work_dir / "screen"
    write_run(work / "base" / "validation", "base", 0.95, 40)
    reached = {"accuracy": (0.99, 40), "levin": (0.985, 20), "linear": (0.975, 16), "kimi": (0.7, 8)}
    planned = compare.plan("screen", args)
    for name, value, run in planned:
        if name == "linear" and value == 0.01:
            (work / run.name).mkdir(parents=True)
            (work / run.name / "failed.txt").write_text("error: no\n")
            continue
        write_run(work / run.name / "validation", name, *reached[compare.family(name)])
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
    compare.plot(result, tmp_path / "images" / "objectives_screen")
    assert (tmp_path / "images" / "objectives_screen.png").stat().st_size > 1000
    last = list({row["objective"]: row for row in result["arms"]}.values())
    compare.plot_points({**result, "arms": last}, tmp_path / "images" / "objectives_final")
    assert "levin_warmup 0.25" in (tmp_path / "images" / "objectives_final.svg").read_text()
    later = compare.plan("final", args)
    assert {compare.family(name) for name, _, _ in later} == {"accuracy", "levin", "linear", "kimi"}
    assert len(later) == 12, "one arm of each objective"
    assert [run.overrides["seed"] for _, _, run in later[:5]] == [10] * 4 + [11], "seed by seed"
    assert {run.overrides["seed"] for _, _, run in later} == set(compare.PHASES["final"].seeds)


def test_a_run_is_not_made_twice_and_not_with_other_settings(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(compare, "make", lambda run, folder: made.append(run.name))
    args = arguments(tmp_path)
    run = compare.run_of("screen", "levin", 0.05, 0, args)
    compare.make_or_note(run, tmp_path)
    compare.make_or_note(run, tmp_path)
    assert made == [run.name] * 2  # `make` itself passes over what is there
    with pytest.raises(SystemExit, match="other settings"):
        compare.make_or_note(compare.run_of("screen", "levin", 0.05, 0, arguments(tmp_path, steps=7)), tmp_path)


def test_a_run_that_fails_is_noted(tmp_path, monkeypatch):
    import subprocess

    def fails(run, folder):
        (folder / run.name / "log.txt").write_text("step 1\nerror: the loss is nan\n")
        raise subprocess.CalledProcessError(2, "timecost")

    monkeypatch.setattr(compare, "make", fails)
    run = compare.run_of("screen", "levin", 0.05, 0, arguments(tmp_path))
    compare.make_or_note(run, tmp_path)
    assert (tmp_path / run.name / "failed.txt").read_text() == "error: the loss is nan\n"
