"""Which runs each phase of the comparison of objectives consists of: objectives at their strengths, seeds, problems."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from reproduce_arithmetic import Run

OURS, BASELINE = "levin", "accuracy"


@dataclass(frozen=True)
class Arm:
    """An objective in the comparison: which argument is its strength, values of it, and what stays fixed.

    Lengths are in tokens of the embedded task, whose completions take 3 to 106. `train` holds TRL options that the
    objective cannot do without; `paper` those of its paper, used with --paper_options. `form_of`: the objective that
    this is a form of, where the arm has a name of its own.
    """

    strength: str | None = None
    values: tuple = (None,)
    kwargs: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)
    paper: dict = field(default_factory=dict)
    form_of: str | None = None


@dataclass(frozen=True)
class Phase:
    """A part of the comparison: what is trained for how long, and judged on what.

    `after`: the phases whose results say which arms take part, `num_best` objectives of the first one's ranking at the
    strengths that the last one found best.
    """

    split: str
    steps: int
    num_problems: int
    seeds: tuple[int, ...]
    title: str
    task: str = "arithmetic"
    after: tuple[str, ...] = ()
    num_best: int = 0


PHASES = {
    "screen": Phase("validation", 100, 500, (0,), "Objectives, screened"),
    "final": Phase("test", 200, 2000, (10, 11, 12), "Objectives, final", after=("screen",), num_best=6),
    "tune": Phase("validation", 200, 500, (0,), "The best objectives, tuned at full length"),
    "confirm": Phase(
        "test", 200, 2000, (20, 21, 22, 23, 24), "The best objectives, tuned and confirmed", after=("tune",), num_best=3
    ),
    "harder": Phase(
        "test", 200, 2000, (10, 11, 12), "Objectives on a harder family", "arithmetic_hard", ("final", "tune"), 5
    ),
}  # fmt: skip
GROUP = {"scale_rewards": "group"}
WARMUP = {"price_schedule": "warmup"}  # over half of the run
DAPO = {**GROUP, "loss_type": "dapo", "epsilon_high": 0.28}
ARMS = {
    "accuracy": Arm(),
    "linear": Arm("price", (0.001, 0.003, 0.01)),
    "net": Arm("price", (0.001, 0.003, 0.01)),
    "levin": Arm("time_elasticity", (0.02, 0.05, 0.1)),
    "levin_correct": Arm("time_elasticity", (0.1, 0.2), {"time_on": "correct"}, form_of="levin"),
    "levin_warmup": Arm("time_elasticity", (0.15, 0.25), train=WARMUP, form_of="levin"),
    "maxrl": Arm(),
    "lcpo_exact": Arm("budget", (12, 20, 28), {"alpha": 0.01}, paper=GROUP),
    "lcpo_max": Arm("alpha", (0.005, 0.01, 0.02), {"budget": 24}, paper=GROUP),
    "arora": Arm("alpha", (0.05, 0.1, 0.4)),
    "kimi": Arm("weight", (0.05, 0.1, 0.2, 1.0)),
    "kimi_warmup": Arm("weight", (0.2,), train=WARMUP, form_of="kimi"),
    "overlong": Arm("max_length", (24, 48, 96), {"cache": 16}, paper=DAPO),
    "truncation": Arm("limits", ([36, 24, 16], [48, 36, 24], [72, 54, 36]), paper={"scale_rewards": "batch"}),
    "laser": Arm("target", (12, 24, 36), paper=GROUP),
    "laser_d": Arm("bonus", (0.1, 0.25, 0.5), paper=GROUP),
    "alp": Arm("beta", (0.001, 0.003, 0.006, 0.01), paper=GROUP),
    "alp_warmup": Arm("beta", (0.01,), train=WARMUP, form_of="alp"),
    # its history needs problems that come again
    "hapo": Arm("weight", (0.1, 0.3, 1.0), train={"num_train_problems": 640}, paper=GROUP),
    "acoer": Arm("alpha", (0.02, 0.1, 0.5), {"warmup": 10, "window": 20, "span": 10}, paper=GROUP),
    "shorter_better": Arm("beta", (0.002, 0.006, 0.02), paper=GROUP),
    "lead": Arm("alpha", (0.05, 0.1, 0.2, 0.4), paper=GROUP),
    "lead_warmup": Arm("alpha", (0.2,), train=WARMUP, form_of="lead"),
    "effort": Arm("effort", (0.6, 0.8, 1.0), paper=GROUP),
    "dual": Arm("budget", (12, 18, 24), {"rate": 0.02}, paper=GROUP),
}  # fmt: skip


# What the phase tune tries, after the final comparison: strengths that were best in 100 steps are not so in 200.
TUNED = {
    "accuracy": (None,),
    "levin": (0.07, 0.1),
    "levin_correct": (0.1,),
    "levin_warmup": (0.1,),
    "kimi": (0.05, 0.07, 0.1),
    "alp": (0.004, 0.006, 0.01),
}


def family(name: str) -> str:
    """The objective of an arm."""
    return ARMS[name].form_of or name


# Runs -----------------------------------------------------------------------------------------------------------------


def settings(objective: str, value, steps: int, seed: int, paper_options: bool) -> dict:
    """What a run changes in the recipe `arithmetic_levin`."""
    arm = ARMS[objective]
    kwargs = {**arm.kwargs, **({} if arm.strength is None else {arm.strength: value})}
    if objective == "truncation":
        kwargs["steps_per_stage"] = max(1, steps // 3)
    schedule = {
        "max_steps": steps, "lr_scheduler_kwargs": {"num_decay_steps": steps // 4},
        "save_steps": min(steps, 100),
    }  # fmt: skip
    if arm.train.get("price_schedule") == "warmup":
        schedule["price_warmup_steps"] = steps // 2
    return {
        "objective": family(objective), "objective_kwargs": kwargs, "seed": seed, **schedule, **arm.train,
        **(arm.paper if paper_options else {}),
    }  # fmt: skip


def label(objective: str, value) -> str:
    return objective if value is None else f"{objective} {ARMS[objective].strength}={json.dumps(value)}"


def run_of(phase: str, objective: str, value, seed: int, args) -> Run:
    about = PHASES[phase]
    name = label(objective, value).replace(" ", "_").replace("[", "").replace("]", "").replace(",_", ",")
    return Run(
        f"{name}-{seed}", "arithmetic_levin", {about.split: args.num_problems or about.num_problems},
        settings(objective, value, args.steps or about.steps, seed, args.paper_options), about.task, args.num_samples,
    )  # fmt: skip


def base_run(phase: str, args) -> Run:
    """The start model itself, whose styles say what a collapse is."""
    about = PHASES[phase]
    return Run(
        "base", None, {about.split: args.num_problems or about.num_problems}, {}, about.task, args.num_samples
    )  # fmt: skip


def plan(phase: str, args) -> list[tuple[str, object, Run]]:
    """(objective, strength, run) of a phase. The later phases read what the earlier ones have found."""
    about = PHASES[phase]
    if about.after:
        rankings = [ranking_of(earlier, args.output_path) for earlier in about.after]
        best = {row["objective"]: (row["arm"], row["strength"]) for ranking in rankings for row in ranking}
        chosen = [best[row["objective"]] for row in pick(rankings[0], about.num_best)]
    elif phase == "tune":
        chosen = [(name, value) for name, values in TUNED.items() for value in values]
    else:
        chosen = [(name, value) for name, arm in ARMS.items() for value in arm.values]
    if args.objectives:
        chosen = [pair for pair in chosen if family(pair[0]) in (BASELINE, *args.objectives.split(","))]
    return [(name, value, run_of(phase, name, value, seed, args)) for seed in about.seeds for name, value in chosen]


def ranking_of(phase: str, output_path: Path) -> list[dict]:
    source = output_path / f"objectives_{phase}.json"
    if not source.exists():
        raise SystemExit(f"{source} is missing: run --phase {phase} first")
    try:
        return json.loads(source.read_text())["result"]["ranking"]
    except (ValueError, LookupError) as error:
        raise SystemExit(f"{source} holds no ranking: delete it and run --phase {phase} again") from error


def pick(ranking: list[dict], num: int) -> list[dict]:
    """`accuracy`, the first `num` others of a ranking, and `levin` if it is not among them."""
    others = [row for row in ranking if row["objective"] != BASELINE]
    best = others[:num]
    if OURS not in [row["objective"] for row in best]:
        best += [row for row in others if row["objective"] == OURS]
    return [row for row in ranking if row["objective"] == BASELINE] + best
