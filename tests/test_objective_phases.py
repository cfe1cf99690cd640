"""What takes part in the comparison of objectives: settings that training accepts, and who goes on to a later phase."""

import argparse
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import objective_phases as phases  # noqa: E402

from timecost.objectives import REGISTRY  # noqa: E402


def arguments(tmp_path, **changes):
    values = {"steps": 6, "num_problems": 40, "num_samples": 2, "paper_options": False, "objectives": None}
    return argparse.Namespace(**(values | {"output_path": tmp_path / "results"} | changes))


def test_every_objective_takes_part_with_three_strengths_or_none():
    assert {name for name, arm in phases.ARMS.items() if not arm.form_of} == set(REGISTRY)
    assert set(map(phases.family, phases.ARMS)) == set(REGISTRY)
    for arm in phases.ARMS.values():
        assert arm.form_of or (len(arm.values) == 1 if arm.strength is None else len(arm.values) >= 3)


def test_a_warmup_takes_half_of_the_run():
    settings = [phases.settings("levin_warmup", 0.15, steps, 0, False) for steps in (100, 200)]
    assert [run["price_warmup_steps"] for run in settings] == [50, 100]
    assert settings[0]["objective"] == "levin" and settings[0]["objective_kwargs"] == {"time_elasticity": 0.15}


@pytest.mark.slow
@pytest.mark.parametrize("paper_options", [False, True])
@pytest.mark.filterwarnings("ignore:scale_rewards")
def test_the_settings_of_every_run_are_accepted(tmp_path, paper_options):
    from timecost.config import TimeCostConfig

    planned = phases.plan("screen", arguments(tmp_path, paper_options=paper_options))
    assert len({run.name for _, _, run in planned}) == len(planned) == sum(len(a.values) for a in phases.ARMS.values())
    for _, _, run in planned:
        overrides = {name: value for name, value in run.overrides.items() if name != "num_train_problems"}
        config = TimeCostConfig(output_dir=str(tmp_path), bf16=False, report_to="none", **overrides)
        assert config.max_steps == 6 and (config.scale_rewards != "none") <= paper_options


def test_the_best_are_picked_with_the_baseline_and_ours():
    names = ["arora", "kimi", "accuracy", "linear", "levin", "lead"]
    ranking = [{"objective": name} for name in names]
    assert [row["objective"] for row in phases.pick(ranking, 2)] == ["accuracy", "arora", "kimi", "levin"]
    assert [row["objective"] for row in phases.pick(ranking, 4)] == ["accuracy", "arora", "kimi", "linear", "levin"]


def test_a_harder_family_gets_the_best_of_the_final_at_the_strengths_that_tuning_found(tmp_path):
    args = arguments(tmp_path)
    args.output_path.mkdir()

    def write(phase, *rows):
        ranking = [dict(zip(("objective", "arm", "strength"), row, strict=True)) for row in rows]
        (args.output_path / f"objectives_{phase}.json").write_text(json.dumps({"result": {"ranking": ranking}}))

    baseline = ("accuracy", "accuracy", None)
    write("final", ("kimi", "kimi", 0.1), ("levin", "levin_warmup", 0.15), baseline, ("lead", "lead", 0.2))
    with pytest.raises(SystemExit, match="run --phase tune first"):
        phases.plan("harder", args)
    (args.output_path / "objectives_tune.json").touch()
    with pytest.raises(SystemExit, match="holds no ranking: delete it"):
        phases.plan("harder", args)
    write("tune", ("levin", "levin", 0.1), ("kimi", "kimi", 0.05), baseline)
    planned = phases.plan("harder", args)
    assert {(name, value) for name, value, _ in planned} == {
        ("accuracy", None), ("kimi", 0.05), ("levin", 0.1), ("lead", 0.2)
    }  # fmt: skip
    assert {run.task for _, _, run in planned} == {"arithmetic_hard"}
    tuned = {(name, value) for name, value, _ in phases.plan("tune", args)}
    assert len(tuned) == 11 and {phases.family(name) for name, _ in tuned} == {"accuracy", "levin", "kimi", "alp"}
