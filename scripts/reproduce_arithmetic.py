"""The results that the README and docs/results.md quote: trains every arm, evaluates it, writes docs/results/.

    python scripts/reproduce_arithmetic.py --jobs 2

Sets of runs from the embedded base, by the packaged recipes with the changes named in `plan`:
    main        accuracy and levin, seeds 0, 1, 2: 2,000 test problems and 1,000 with untrained combinations
    elasticity  levin at other elasticities, the same seeds and test problems
    forms       other forms of levin and ways to keep exploring, seed 0, on validation problems
    bmojo       the same as main, from the embedded B'MOJO
    baseline    levin with a value head beside the policy, alone (seed 0) and as a baseline per token (seeds 0, 1, 2)
A run that is already there is not made again, so an interrupted reproduction goes on where it stopped.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

SEEDS = (0, 1, 2)
ELASTICITIES = (0.02, 0.1, 0.25)  # 0 is `accuracy`: the same advantages; the recipe's own is in main
FORMS = {
    "time_on=correct": {"objective_kwargs": {"time_on": "correct"}},
    "KL 0.02, faded": {"beta": 0.02, "exploration_fraction": 0.5},
    "weighting=exact": {"objective_kwargs": {"weighting": "exact"}},
    "time=mean": {"objective_kwargs": {"time": "mean"}},
}


@dataclass(frozen=True)
class Run:
    """One trained model and where it is evaluated: split -> number of problems."""

    name: str
    recipe: str | None
    splits: dict[str, int]
    overrides: dict = field(default_factory=dict)
    task: str = "arithmetic"
    num_samples: int = 8
    model: str = "arithmetic_base"


def plan() -> dict[str, list[Run]]:
    main_splits = {"test": 2000, "held_out": 1000}
    sets = {"main": [], "elasticity": [], "forms": [], "bmojo": [], "baseline": []}
    for name, prefix, model in (("main", "", "arithmetic_base"), ("bmojo", "bmojo_", "arithmetic_base_bmojo")):
        sets[name].append(Run(f"{prefix}base", None, main_splits, model=model))
        for seed in SEEDS:
            for arm in ("accuracy", "levin"):
                overrides = {"seed": seed, "model_name_or_path": model}
                sets[name].append(Run(f"{prefix}{arm}-{seed}", f"arithmetic_{arm}", main_splits, overrides))
    for elasticity in ELASTICITIES:
        for seed in SEEDS:
            overrides = {"seed": seed, "time_elasticity": elasticity}
            name = f"elasticity-{elasticity}-{seed}"
            sets["elasticity"].append(Run(name, "arithmetic_levin", {"test": 2000}, overrides))
    sets["forms"].append(Run("accuracy-0", "arithmetic_accuracy", {"validation": 1000}, {"seed": 0}))
    sets["forms"].append(Run("levin-0", "arithmetic_levin", {"validation": 1000}, {"seed": 0}))
    for form, overrides in FORMS.items():
        sets["forms"].append(Run(f"form {form}", "arithmetic_levin", {"validation": 1000}, overrides))
    for seed in SEEDS:
        overrides = {"seed": seed, "value_head": True, "value_baseline": True}
        sets["baseline"].append(Run(f"baseline-{seed}", "arithmetic_levin", {"test": 2000}, overrides))
        levin = {"seed": seed, "model_name_or_path": "arithmetic_base"}
        sets["baseline"].append(Run(f"levin-{seed}", "arithmetic_levin", {"test": 2000}, levin))
    sets["baseline"].append(Run("joint-0", "arithmetic_levin", {"test": 2000}, {"seed": 0, "value_head": True}))
    return sets


def make(run: Run, folder: Path) -> None:
    """Train and evaluate one run, each in a process of its own with one thread; raises CalledProcessError."""
    here = folder / run.name.replace(" ", "_")
    here.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    def timecost(*arguments: str) -> None:
        with open(here / "log.txt", "a") as log:
            subprocess.run(
                [sys.executable, "-m", "timecost.cli", *arguments], env=environment, stdout=log, stderr=log, check=True
            )

    model = run.model
    if run.recipe:
        model = str(here / "model")
        if not (here / "model" / "train_summary.json").exists():
            flags = [flag for key, value in run.overrides.items() for flag in (f"--{key}", as_flag(value))]
            flags += [] if run.task == "arithmetic" else ["--task", run.task]
            timecost("train", "--config", run.recipe, "--output_dir", model, "--resume", "auto", *flags)
    for split, num_problems in run.splits.items():
        if not (here / split / "results.json").exists():
            timecost(
                "evaluate", "--model_name_or_path", model, "--label", run.name, "--tasks", run.task,
                "--split", split, "--num_problems", str(num_problems), "--num_samples", str(run.num_samples),
                "--output_path", str(here / split),
            )  # fmt: skip
    print(f"{run.name}: done", flush=True)


def make_all(runs: list[Run], folder: Path, jobs: int) -> None:
    """Make the runs, `jobs` at a time; those of one name, in several sets, share a folder: one after another."""
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        by_name.setdefault(run.name, []).append(run)

    def make_each(same: list[Run]) -> None:
        for run in same:
            make(run, folder)

    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(make_each, same) for same in by_name.values()]:
            future.result()


def as_flag(value) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)


def origin(runs: list[Run], folder: Path) -> dict:
    """Provenance of a summary of runs: that of this process, its command, and how many runs each commit evaluated."""
    from collections import Counter

    from timecost.provenance import provenance

    made = Counter()
    for name, run in {run.name: run for run in runs}.items():
        split = next(iter(run.splits))
        path = folder / name.replace(" ", "_") / split / "results.json"
        if path.exists():
            made[str(json.loads(path.read_text())["provenance"]["commit"])] += 1
    return provenance() | {"runs": dict(made)}


# Reading the runs -----------------------------------------------------------------------------------------------------


class Results:
    """Samples and records of the finished runs."""

    def __init__(self, folder: Path):
        self.folder = folder

    def samples(self, names: list[str], split: str) -> list[dict]:
        from timecost.evaluation.results import read_samples

        return [row for name in names for row in read_samples(self.folder / name.replace(" ", "_") / split)]

    def record(self, names: list[str], split: str, reference: list[str] | None = None) -> dict:
        """One record over the samples of several runs, such as the seeds of an arm, compared with those of others."""
        from timecost.evaluation.records import make_record

        rows = [{**row, "model": names[0].rsplit("-", 1)[0]} for row in self.samples(names, split)]
        return make_record(rows, {"runs": names, "split": split}, self.samples(reference, split) if reference else None)

    def log(self, name: str) -> list[dict]:
        """What training logged, an entry for each time."""
        return json.loads((self.folder / name / "model" / "trainer_state.json").read_text())["log_history"]

    def weights_equal(self, name: str, other: str) -> bool:
        """Whether two runs came to the same weights, bit by bit."""
        one, two = ((self.folder / run / "model" / "model.safetensors").read_bytes() for run in (name, other))
        return one == two

    def train_summary(self, name: str) -> dict:
        path = self.folder / name.replace(" ", "_") / "model" / "train_summary.json"
        summary = json.loads(path.read_text())
        return {key: summary[key] for key in ("global_step", "elapsed_seconds")}


SHORT = (
    "model", "num_problems", "accuracy", "accuracy_low", "accuracy_high", "tokens_mean", "tokens_mean_low",
    "tokens_mean_high", "truncation_rate", "answer_rate", "styles",
)  # fmt: skip
COMPARED = [
    f"{name}{end}"
    for name in ("accuracy_difference", "tokens_ratio", "allocation_slope", "speedup_bits", "speedup_bits_pooled")
    for end in ("", "_low", "_high")
]


def short(record: dict, *, compared: bool = False) -> dict:
    return {key: record[key] for key in (*SHORT, *(COMPARED if compared else ())) if key in record}


def summarise_main(results: Results, prefix: str = "") -> dict:
    from timecost.evaluation.figures import style_frontier, style_points

    base = results.record([f"{prefix}base"], "test")
    out = {
        "base": {**base},
        "base_styles_forced": {s: {"tokens": t, "accuracy": a} for s, (t, a) in style_points(base).items()},
        "base_styles_best_choice_per_difficulty": style_frontier(base),
        "seeds": [],
    }
    groups = [[f"{seed}"] for seed in SEEDS] + [[str(seed) for seed in SEEDS]]
    for seeds in groups:
        accuracy, levin = ([f"{prefix}{arm}-{seed}" for seed in seeds] for arm in ("accuracy", "levin"))
        entry = {
            "seeds": seeds,
            "accuracy": results.record(accuracy, "test", [f"{prefix}base"]),
            "levin": results.record(levin, "test", [f"{prefix}base"]),
            "levin_against_accuracy": compared(results.record(levin, "test", accuracy)),
            "held_out": {
                "accuracy": short(results.record(accuracy, "held_out")),
                "levin": short(results.record(levin, "held_out")),
                "levin_against_accuracy": compared(results.record(levin, "held_out", accuracy)),
            },
        }
        if len(seeds) == 1:
            entry["training"] = {name: results.train_summary(name) for name in (*accuracy, *levin)}
            for arm in ("accuracy", "levin"):
                entry[arm] = short(entry[arm], compared=True)
            out["seeds"].append(entry)
        else:
            out["pooled"] = entry
    return out


def compared(record: dict) -> dict:
    return {key: record[key] for key in COMPARED}


def summarise_elasticity(results: Results) -> list[dict]:
    from timecost.options import find_recipe, load_recipe

    default = load_recipe(find_recipe("arithmetic_levin"))["time_elasticity"]
    arms = {elasticity: f"elasticity-{elasticity}" for elasticity in ELASTICITIES} | {0.0: "accuracy", default: "levin"}
    rows = []
    for elasticity, arm in sorted(arms.items()):
        for seeds in ([0], [1], [2], SEEDS):
            runs, reference = ([f"{name}-{seed}" for seed in seeds] for name in (arm, "accuracy"))
            record = short(results.record(runs, "test", reference), compared=True)
            rows.append({"time_elasticity": elasticity, "seeds": list(seeds), **record})
    return rows


def summarise_forms(results: Results) -> list[dict]:
    runs = {"accuracy alone": ("accuracy-0", {}), "levin, the default": ("levin-0", {})}
    runs |= {form: (f"form {form}", overrides) for form, overrides in FORMS.items()}
    return [
        {"form": form, "overrides": overrides, **short(results.record([name], "validation"))}
        for form, (name, overrides) in runs.items()
    ]


def summarise_baseline(results: Results) -> dict:
    """The per-token baseline against levin without it: accuracy, tokens, and what was left of the advantages."""
    import statistics

    rows = []
    for seeds in ([0], [1], [2], SEEDS):
        runs, reference = ([f"{arm}-{seed}" for seed in seeds] for arm in ("baseline", "levin"))
        record, other = results.record(runs, "test", reference), results.record(reference, "test")
        rows.append({"seeds": list(seeds), "baseline": short(record, compared=True), "levin": short(other)})
    logs = {name: results.log(name) for name in (*(f"baseline-{s}" for s in SEEDS), *(f"levin-{s}" for s in SEEDS))}
    left, norm = "timecost/value/advantage_left", "grad_norm"
    return {
        "rows": rows,
        "advantage_left": {
            name: statistics.mean(row[left] for row in log if left in row)
            for name, log in logs.items() if name.startswith("baseline")
        },
        "grad_norm": {name: statistics.mean(row[norm] for row in log if norm in row) for name, log in logs.items()},
        "head_alone_changes_no_weight": results.weights_equal("joint-0", "levin-0"),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="main,elasticity,forms", help="which sets of runs, in this order")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one core each")
    parser.add_argument("--work_dir", type=Path, default=Path("outputs/reproduce"))
    parser.add_argument("--output_path", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    sets = plan()
    names = args.sets.split(",")
    if unknown := [name for name in names if name not in sets]:
        parser.error(f"unknown set {unknown[0]}: {', '.join(sets)}")
    make_all([run for name in names for run in sets[name]], args.work_dir, args.jobs)

    from timecost.evaluation.results import finite, write_json

    summaries = {"main": summarise_main, "elasticity": summarise_elasticity, "forms": summarise_forms}
    summaries["baseline"] = summarise_baseline
    summaries["bmojo"] = partial(summarise_main, prefix="bmojo_")
    args.output_path.mkdir(parents=True, exist_ok=True)
    for name in names:
        content = {
            "result": summaries[name](Results(args.work_dir)), "provenance": origin(sets[name], args.work_dir)
        }  # fmt: skip
        write_json(args.output_path / f"arithmetic_{name}.json", finite(content))
        print(f"wrote {args.output_path / f'arithmetic_{name}.json'}")


if __name__ == "__main__":
    main()
