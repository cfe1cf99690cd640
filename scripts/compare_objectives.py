"""Every objective of the registry on the same model, steps, seeds and data: which reaches what accuracy in what time.

    python scripts/compare_objectives.py --phase screen --jobs 2     # all objectives, 3 strengths or more, validation
    python scripts/compare_objectives.py --phase final --jobs 2      # the best six, 3 fresh seeds, test problems
    python scripts/compare_objectives.py --phase tune --jobs 2       # TUNED at full length, validation problems
    python scripts/compare_objectives.py --phase confirm --jobs 2    # the best of them, 5 fresh seeds, test problems
    python scripts/compare_objectives.py --phase harder --jobs 2     # the best five, another family of problems

Each run is a folder of --work_dir; one that is there is not made again, so an interrupted comparison goes on. Writes
docs/results/objectives_<phase>.json and docs/images/objectives_<phase>.png.

What is selected is fixed here. An objective's best strength: the fewest tokens among those that keep within 1 point of
`accuracy`, the most accurate where none does, on validation problems. The best objectives: the fewest tokens at
(`accuracy` - 1 point), read off straight lines between the points of their strengths and that of `accuracy`; those that
never reach it come last, by accuracy. A form of an objective, such as the same with a warm-up of the price, competes
for that objective's place. `levin` is always among the final ones.
"""

import argparse
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from reproduce_arithmetic import Run, make, origin

OURS, BASELINE = "levin", "accuracy"
POINT = 0.01  # of accuracy, that may be given for time
FLOOR = 0.05  # hypervolume counts accuracy from (`accuracy` - 5 points) upwards
ELASTICITY, MARGIN = 0.05, 0.1  # of the value log p - ELASTICITY * E[log T] that tells a collapse, in nats


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


def make_or_note(run: Run, folder: Path) -> None:
    """Make a run unless it is there; a failure is noted in its folder and does not end the comparison.

    Raises SystemExit when the folder holds a run that was made with other settings.
    """
    here = folder / run.name
    here.mkdir(parents=True, exist_ok=True)
    note, wanted = here / "run.json", json.loads(json.dumps(asdict(run)))
    if note.exists() and json.loads(note.read_text()) != wanted:
        raise SystemExit(f"{here} holds a run with other settings: name another --work_dir, or delete it")
    note.write_text(json.dumps(wanted, indent=1) + "\n")
    failed = here / "failed.txt"
    failed.unlink(missing_ok=True)
    try:
        make(run, folder)
    except subprocess.CalledProcessError:
        last = (here / "log.txt").read_text(errors="replace").strip().splitlines()[-1:]
        failed.write_text("\n".join(last) + "\n")
        print(f"{run.name}: failed: {' '.join(last)}", flush=True)


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


# Reading the runs -----------------------------------------------------------------------------------------------------


def table_of(rows: list[dict], keys: list[str]) -> dict:
    """Per problem (P,): correct share, mean tokens, and the mean log cost, of one run."""
    import numpy as np

    from timecost.evaluation.records import PROMPT_COST, problem_key, problem_table

    table = problem_table(rows, keys)
    position = {key: i for i, key in enumerate(keys)}
    logs = np.zeros(len(keys))
    for row in rows:
        logs[position[problem_key(row)]] += np.log(row["thinking_tokens"] + row["answer_tokens"] + PROMPT_COST)
    scored = np.maximum(table["num_scored"], 1)
    return {
        "accuracy": table["num_correct"] / scored, "tokens": table["tokens_mean"],
        "log_cost": logs / table["num_samples"],
    }  # fmt: skip


def styles_of(rows: list[dict]) -> dict:
    """Difficulty -> share of each style among its completions, the rarest (below 1 %) left out."""
    from collections import Counter

    counts: dict[str, Counter] = {}
    for row in rows:
        counts.setdefault(str(row["difficulty"]), Counter())[row.get("style", "all")] += 1
    return {
        difficulty: {style: round(n / count.total(), 3) for style, n in count.most_common() if n >= count.total() / 100}
        for difficulty, count in sorted(counts.items(), key=lambda item: int(item[0]))
    }


def accuracy_of_styles(rows: list[dict]) -> dict:
    """Difficulty -> share of right answers of each style that `styles_of` names, for what a style is worth."""
    cells: dict[tuple, list] = {}
    for row in rows:
        cells.setdefault((str(row["difficulty"]), row.get("style", "all")), []).append(row["status"] == "correct")
    return {
        difficulty: {style: round(sum(cells[difficulty, style]) / len(cells[difficulty, style]), 4) for style in styles}
        for difficulty, styles in styles_of(rows).items()
    }


def best_choice(runs: list[list[dict]], min_completions: int = 100) -> list[tuple[float, float]]:
    """Frontier (tokens, accuracy) of taking the best style at each difficulty, as the trained models perform them.

    What a style takes and reaches is pooled over the runs that use it for most of a difficulty's completions: they
    chose it and practised it. An objective gets below this only by making a style more accurate than others do. Empty
    where a difficulty has no style that some run uses for most of it.
    """
    from collections import defaultdict

    from timecost.evaluation.metrics import best_mixture

    pooled = defaultdict(lambda: defaultdict(list))  # difficulty -> style -> (tokens, correct) of completions
    totals = defaultdict(int)
    for rows in runs:
        cells = defaultdict(lambda: defaultdict(list))
        for row in rows:
            point = (row["thinking_tokens"] + row["answer_tokens"], row["status"] == "correct")
            cells[row["difficulty"]][row.get("style", "all")].append(point)
        for difficulty, styles in cells.items():
            total = sum(map(len, styles.values()))
            totals[difficulty] += total
            for style, points in styles.items():
                if 2 * len(points) > total:
                    pooled[difficulty][style] += points
    means = [
        {style: tuple(sum(column) / len(points) for column in zip(*points, strict=True))
         for style, points in pooled[difficulty].items() if len(points) >= min_completions}
        for difficulty in totals
    ]  # fmt: skip
    return best_mixture(means, [total / sum(totals.values()) for total in totals.values()]) if all(means) else []


def value(accuracy: float, log_cost: float) -> float:
    """log p - ELASTICITY * E[log T], nats; the common measure by which a collapse is told."""
    from math import log

    return log(max(accuracy, 1e-3)) - ELASTICITY * log_cost


def best_style(rows: list[dict]) -> tuple[str, float]:
    """The best value that one style of the start model reaches, from the completions that happen to use it."""
    import numpy as np

    from timecost.evaluation.records import PROMPT_COST

    styles: dict[str, list] = {}
    for row in rows:
        cost = np.log(row["thinking_tokens"] + row["answer_tokens"] + PROMPT_COST)
        styles.setdefault(row.get("style", "all"), []).append((row["status"] == "correct", cost))
    known = {name: cells for name, cells in styles.items() if len(cells) >= 30}
    known = known or {"all": [cell for cells in styles.values() for cell in cells]}  # too few to tell styles apart
    values = {name: value(*np.mean(cells, axis=0)) for name, cells in known.items()}
    best = max(values, key=values.get)
    return best, values[best]


class Resamples:
    """Bootstrap over problems, and over the seeds of each arm where there are several."""

    def __init__(self, num_problems: int, num_resamples: int = 1000):
        import numpy as np

        from timecost.evaluation.metrics import bootstrap_counts

        self.problems = bootstrap_counts(num_problems, num_resamples) / num_problems  # (R, P)
        self.rng = np.random.default_rng(1)

    def points(self, tables: list[dict]):
        """(tokens, accuracy) of an arm: the values, and (R, 2) of them under resampling."""
        import numpy as np

        stacked = [np.stack([table[name] for table in tables]) for name in ("tokens", "accuracy")]  # (S, P)
        seeds = self.rng.multinomial(len(tables), [1 / len(tables)] * len(tables), len(self.problems)) / len(tables)
        drawn = [np.einsum("rp,sp,rs->r", self.problems, values, seeds, optimize=True) for values in stacked]
        return np.array([values.mean() for values in stacked]), np.stack(drawn, 1)


def hypervolume(points, baseline, max_tokens: float, floor: float) -> float:
    """Of an arm's points and the baseline's, beyond (max_tokens, floor), as a share of what there is."""
    import numpy as np

    from timecost.evaluation import metrics

    tokens, accuracy = np.array([*points, baseline]).T
    return metrics.hypervolume(tokens, np.clip((accuracy - floor) / (1 - floor), 0, None), max_tokens)


def tokens_at(points, baseline) -> float:
    """Mean tokens at (baseline's accuracy - 1 point), on lines between an arm's points and the baseline's."""
    import numpy as np

    from timecost.evaluation import metrics

    within = [point for point in points if point[0] <= baseline[0]]  # a slower one has nothing to offer
    tokens, accuracy = np.array([*within, baseline]).T
    return metrics.tokens_at_accuracy(tokens, accuracy, baseline[1] - POINT)


def summarise(phase: str, args, planned: list[tuple[str, object, Run]]) -> dict:
    """Measures of every arm, of every objective, and the ranking."""
    import numpy as np

    from timecost.evaluation.metrics import named, with_interval
    from timecost.evaluation.records import compare, problem_key
    from timecost.evaluation.results import read_samples

    about = PHASES[phase]
    folder, split = args.work_dir / phase, about.split
    base_rows = read_samples(folder / "base" / split)
    keys = list(dict.fromkeys(map(problem_key, base_rows)))
    style, style_value = best_style(base_rows)
    arms: dict[tuple, dict] = {}
    failures = []
    for name, strength, run in planned:
        if (folder / run.name / "failed.txt").exists():
            failures.append({"run": run.name, "error": (folder / run.name / "failed.txt").read_text().strip()})
            continue
        rows = read_samples(folder / run.name / split)
        table = table_of(rows, keys)
        arm = arms.setdefault((name, json.dumps(strength)), {"tables": [], "runs": [], "seeds": [], "values": []})
        arm["tables"].append(table)
        arm["runs"].append(rows)
        arm["seeds"].append(run.overrides["seed"])
        arm["values"].append(value(table["accuracy"].mean(), table["log_cost"].mean()))
    if (BASELINE, "null") not in arms:
        raise SystemExit(f"no run of {BASELINE} has finished: there is nothing to compare with")

    resamples = Resamples(len(keys))
    for arm in arms.values():
        arm["point"], arm["drawn"] = resamples.points(arm["tables"])
        arm["rows"] = [row for rows in arm["runs"] for row in rows]
    baseline = arms[BASELINE, "null"]
    max_tokens, floor = float(baseline["point"][0]), float(baseline["point"][1]) - FLOOR
    rows_out, objectives = [], {}  # objectives: arms of each, forms included
    for (name, strength), arm in arms.items():
        compared = compare(arm["rows"], baseline["rows"])
        by_seed = [
            {
                "seed": seed, "accuracy": float(table["accuracy"].mean()), "tokens": float(table["tokens"].mean()),
                "value": number, "collapsed": bool(number < style_value - MARGIN),
            }
            for seed, table, number in zip(arm["seeds"], arm["tables"], arm["values"], strict=True)
        ]  # fmt: skip
        stems = ("accuracy_difference", "tokens_ratio", "speedup_bits")
        rows_out.append(
            {
                "objective": family(name), "arm": name, "strength": json.loads(strength),
                "label": label(name, json.loads(strength)), "seeds": arm["seeds"],
                **named("accuracy", with_interval(arm["point"][1], arm["drawn"][:, 1])),
                **named("tokens_mean", with_interval(arm["point"][0], arm["drawn"][:, 0])),
                **{key: compared[key] for stem in stems for key in (stem, f"{stem}_low", f"{stem}_high")},
                "by_seed": by_seed, "collapses": sum(seed["collapsed"] for seed in by_seed),
                "styles": styles_of(arm["rows"]), "accuracy_of_styles": accuracy_of_styles(arm["rows"]),
            }
        )  # fmt: skip
        objectives.setdefault(family(name), []).append(arm)

    def both(function, name):
        """A measure of an objective from its points and the baseline's: the value, and (R,) under resampling."""
        members = objectives[name] if name != BASELINE else []
        drawn = [
            function([m["drawn"][r] for m in members], baseline["drawn"][r]) for r in range(len(baseline["drawn"]))
        ]
        return function([m["point"] for m in members], baseline["point"]), np.array(drawn)

    def area(points, reference):
        return hypervolume(points, reference, max_tokens, floor)

    measures = {name: {"hypervolume": both(area, name), "tokens_at": both(tokens_at, name)} for name in objectives}
    ranking = []
    for name in objectives:
        own = [row for row in rows_out if row["objective"] == name]
        within = [row for row in own if row["accuracy"] >= baseline["point"][1] - POINT]
        best = min(within, key=lambda r: r["tokens_mean"]) if within else max(own, key=lambda r: r["accuracy"])
        entry = {"objective": name, **{key: best[key] for key in ("arm", "strength", "label")}, "within": bool(within)}
        entry["best_accuracy"] = max(row["accuracy"] for row in own)
        for measure, (number, drawn) in measures[name].items():
            entry |= named(measure, with_interval(number, drawn))
        ranking.append({**entry, "collapses": sum(row["collapses"] for row in own)})
    choice = best_choice([rows for arm in arms.values() for rows in arm["runs"]])
    ranking.sort(key=lambda row: (not row["within"], row["tokens_at"] if row["within"] else -row["best_accuracy"]))
    return {
        "phase": phase, "title": about.title, "task": about.task, "split": split, "num_problems": len(keys),
        "num_samples": args.num_samples, "steps": planned[0][2].overrides["max_steps"],
        "paper_options": args.paper_options, "reference_point": {"tokens": max_tokens, "accuracy": floor},
        "base_best_style": {"style": style, "value": style_value}, "collapse_margin": MARGIN,
        "arms": rows_out, "ranking": ranking, "against_best_rival": against_rivals(ranking, measures),
        "best_choice": {"points": choice, "tokens_at": tokens_at(choice, baseline["point"]) if choice else None},
        "failures": failures,
    }  # fmt: skip


def against_rivals(ranking: list[dict], measures: dict) -> dict | None:
    """Ours over the rival that is best in each measure: ratio of hypervolumes, ratio of tokens at equal accuracy."""
    import numpy as np

    from timecost.evaluation.metrics import named, with_interval

    rivals = [row for row in ranking if row["objective"] not in (OURS, BASELINE)]
    if not rivals or OURS not in measures:
        return None
    out = {}
    for measure, choose in (("hypervolume", max), ("tokens_at", min)):
        rival = choose(rivals, key=lambda row: row[measure])["objective"]
        (mine, drawn), (other, other_drawn) = measures[OURS][measure], measures[rival][measure]
        out[f"{measure}_rival"] = rival
        with np.errstate(divide="ignore", invalid="ignore"):
            out |= named(f"{measure}_ratio", with_interval(np.divide(mine, other), drawn / other_drawn))
    return out


def plot(result: dict, path: Path, columns: int = 4) -> None:
    """Accuracy against tokens, a panel for each objective: its arms before those of all others, `accuracy` in each.

    Forms of an objective are hollow. An arm below the floor of the hypervolume stands at the lower edge, with its
    value.
    """
    from timecost.evaluation.figures import COLOURS, GREY, INK, LINE, PAPER, in_our_style, new_figure, save

    bottom = 100 * result["reference_point"]["accuracy"]
    arms = [{**row, "x": row["tokens_mean"], "y": 100 * row["accuracy"]} for row in result["arms"]]
    shown = [row for row in arms if row["y"] >= bottom]
    names = [row["objective"] for row in result["ranking"] if row["objective"] != BASELINE]
    baseline = next(row for row in arms if row["objective"] == BASELINE)

    @in_our_style
    def draw():
        num_rows = -(-len(names) // columns)
        figure, panels = new_figure(9.6, 0.6 + 1.9 * num_rows, columns, num_rows)
        for axes, name in zip(panels, names, strict=False):
            axes.plot([row["x"] for row in shown], [row["y"] for row in shown], "o", color=LINE, markersize=3, zorder=1)
            axes.plot(baseline["x"], baseline["y"], "s", color=INK, markersize=5)
            for arm in dict.fromkeys(row["arm"] for row in arms if row["objective"] == name):
                own = sorted((row for row in shown if row["arm"] == arm), key=lambda row: row["x"])
                spread = [[max(0, row["y"] - 100 * row["accuracy_low"]) for row in own],
                          [max(0, 100 * row["accuracy_high"] - row["y"]) for row in own]]  # fmt: skip
                form = arm != name
                axes.errorbar(
                    [row["x"] for row in own], [row["y"] for row in own], yerr=spread, color=COLOURS[form], marker="o",
                    markersize=5, markerfacecolor=PAPER if form else None, elinewidth=1.0, linewidth=1.0,
                )  # fmt: skip
            low = sorted((row for row in arms if row["objective"] == name and row["y"] < bottom), key=lambda r: r["x"])
            if low:
                axes.plot([row["x"] for row in low], [bottom + 0.1] * len(low), "v", color=COLOURS[1], markersize=5)
                axes.text(0.03, 0.12, ", ".join(f"{row['y']:.0f} %" for row in low), transform=axes.transAxes,
                          color=GREY, fontsize=8)  # fmt: skip
            axes.set_title(name, fontsize=10, pad=4)
            axes.set_xlim(0, 1.1 * max(row["x"] for row in arms))
            axes.set_ylim(bottom - 0.2, 100.2)
        for axes in panels[len(names) :]:
            axes.set_visible(False)
        figure.supxlabel("mean tokens per completion", fontsize=10)
        figure.supylabel("accuracy, %", fontsize=10)
        save(figure, path)

    path.parent.mkdir(parents=True, exist_ok=True)
    draw()


def plot_points(result: dict, path: Path) -> None:
    """Accuracy against tokens in one panel, for a phase with an arm for each objective: means with their intervals,
    each seed (small), the accuracy of `accuracy` and a point less, and what choosing styles alone would give (dashed).
    """
    from timecost.evaluation.figures import (
        COLOURS,
        GREY,
        INK,
        LINE,
        in_our_style,
        new_figure,
        place_labels,
        save,
        spread,
    )

    baseline = next(row for row in result["arms"] if row["objective"] == BASELINE)
    arms = [row for row in result["arms"] if row["objective"] != BASELINE]
    seeds = [(seed["tokens"], 100 * seed["accuracy"]) for row in arms for seed in row["by_seed"]]

    @in_our_style
    def draw():
        figure, axes = new_figure(7.2, 4.4)
        left, right = min(x for x, _ in seeds) - 0.7, max(x for x, _ in seeds) + 1.2
        bottom = min(min(y for _, y in seeds), 100 * (baseline["accuracy"] - POINT)) - 0.3
        for y, text in ((100 * baseline["accuracy"], f"{BASELINE}, {baseline['tokens_mean']:.1f} tokens"),
                        (100 * (baseline["accuracy"] - POINT), "a point less")):  # fmt: skip
            axes.axhline(y, color=LINE, linewidth=1.0, zorder=0)
            axes.text(left + 0.05, y + 0.03, text, color=GREY, fontsize=8)
        if points := result["best_choice"]["points"]:
            axes.plot([x for x, _ in points], [100 * y for _, y in points], "--", color=GREY, linewidth=1.0, zorder=1)
        labels = []
        for k, row in enumerate(arms):
            colour = INK if row["objective"] == OURS else COLOURS[k % len(COLOURS)]
            x, y = row["tokens_mean"], 100 * row["accuracy"]
            axes.errorbar(
                x, y, xerr=spread([row], "tokens_mean", 1), yerr=spread([row], "accuracy", 100), color=colour,
                marker="o", markersize=6, linewidth=1.2,
            )  # fmt: skip
            own = row["by_seed"]
            axes.plot([s["tokens"] for s in own], [100 * s["accuracy"] for s in own], "o", color=colour, markersize=2.5)
            labels.append((x, y, f"{row['arm']} {row['strength'] or ''}", colour, 8.5))
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, 100)
        axes.set_xlabel("mean tokens per completion")
        axes.set_ylabel("accuracy, %")
        place_labels(figure, axes, labels)
        save(figure, path)

    path.parent.mkdir(parents=True, exist_ok=True)
    draw()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phase", choices=tuple(PHASES), default="screen")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one core each")
    parser.add_argument("--objectives", help="only these, separated by commas, and accuracy")
    parser.add_argument("--steps", type=int, help="training steps (default: 100 to screen, else 200)")
    parser.add_argument(
        "--num_problems", type=int, help="problems to evaluate on (default: 500 of validation, 2000 of test)"
    )
    parser.add_argument("--num_samples", type=int, default=8, help="samples for each problem")
    parser.add_argument("--paper_options", action="store_true", help="with the TRL options of each objective's paper")
    parser.add_argument("--summarise_only", action="store_true", help="read the runs that are there, make none")
    parser.add_argument("--work_dir", type=Path, default=Path("outputs/compare"))
    parser.add_argument("--output_path", type=Path, default=Path("docs/results"))
    parser.add_argument("--plot_path", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    known = sorted(set(map(family, ARMS)) - {BASELINE})
    if args.objectives and (unknown := set(args.objectives.split(",")) - set(known)):
        parser.error(f"unknown objective {sorted(unknown)[0]}: {', '.join(known)}")
    planned = plan(args.phase, args)
    folder = args.work_dir / args.phase
    if not args.summarise_only:
        with ThreadPoolExecutor(args.jobs) as pool:
            runs = [base_run(args.phase, args), *(run for _, _, run in planned)]
            for future in [pool.submit(make_or_note, run, folder) for run in runs]:
                future.result()
    ends = (f"{PHASES[args.phase].split}/results.json", "failed.txt")
    planned = [entry for entry in planned if any((folder / entry[2].name / end).exists() for end in ends)]

    from timecost.evaluation.results import finite, write_json

    result = finite(summarise(args.phase, args, planned))
    args.output_path.mkdir(parents=True, exist_ok=True)
    path = args.output_path / f"objectives_{args.phase}.json"
    runs = [base_run(args.phase, args), *(run for _, _, run in planned)]
    write_json(path, {"result": result, "provenance": origin(runs, folder)})
    one_each = len(result["arms"]) == len(result["ranking"])
    (plot_points if one_each else plot)(result, args.plot_path / f"objectives_{args.phase}")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
