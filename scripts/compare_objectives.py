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
(`accuracy` - 1 point), read off straight lines between the points of their strengths and that of `accuracy`; those
without a strength that keeps within that point come last, by accuracy. A form of an objective, such as the same with a
warm-up of the price, competes for that objective's place. `levin` is always among the final ones.
"""

import argparse
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from objective_measures import (
    MARGIN,
    POINT,
    Resamples,
    best_choice,
    best_style,
    hypervolume,
    styles_of,
    table_of,
    tokens_at,
    value,
)
from objective_phases import ARMS, BASELINE, OURS, PHASES, base_run, family, label, plan
from objective_plots import plot
from reproduce_arithmetic import Run, make, origin

from timecost.evaluation.metrics import Estimate, named, with_interval
from timecost.evaluation.records import compare, problem_key
from timecost.evaluation.results import finite, read_samples, write_json

FLOOR = 0.05  # hypervolume counts accuracy from (`accuracy` - 5 points) upwards


# Making the runs ------------------------------------------------------------------------------------------------------


def check_settings(run: Run, folder: Path) -> None:
    """Raises SystemExit when the folder of a run holds one with other settings: more samples, fewer steps."""
    note = folder / run.name / "run.json"
    if note.exists() and json.loads(note.read_text()) != settings_of(run):
        raise SystemExit(f"{note.parent} holds a run with other settings: name another --work_dir, or delete it")


def settings_of(run: Run) -> dict:
    """The run as run.json gives it back."""
    return json.loads(json.dumps(asdict(run)))


def make_or_note(run: Run, folder: Path) -> None:
    """Make a run unless it is there; a failure is noted in its folder and does not end the comparison."""
    here = folder / run.name
    here.mkdir(parents=True, exist_ok=True)
    (here / "run.json").write_text(json.dumps(settings_of(run), indent=1) + "\n")
    failed = here / "failed.txt"
    failed.unlink(missing_ok=True)
    try:
        make(run, folder)
    except subprocess.CalledProcessError:
        last = (here / "log.txt").read_text(errors="replace").strip().splitlines()[-1:]
        failed.write_text("\n".join(last) + "\n")
        print(f"{run.name}: failed: {' '.join(last)}", flush=True)


# Reading the runs -----------------------------------------------------------------------------------------------------


def summarise(phase: str, args, planned: list[tuple[str, object, Run]]) -> dict:
    """Measures of every arm, of every objective, and the ranking."""
    about = PHASES[phase]
    folder, split = args.work_dir / phase, about.split
    base_rows = read_samples(folder / "base" / split)
    keys = list(dict.fromkeys(map(problem_key, base_rows)))
    style, bar = best_style(base_rows)
    arms, failures = read_arms(planned, folder, split, keys)
    baseline = next((arm for arm in arms if arm["name"] == BASELINE), None)
    if baseline is None or len(arms) == 1:
        raise SystemExit(f"{BASELINE} and another must have finished: there is nothing to compare")
    rows = [row_of(arm, baseline, bar) for arm in arms]

    objectives = {}  # objective -> its arms, forms included; the baseline's own point is in every measure
    for arm in arms:
        objectives.setdefault(family(arm["name"]), []).extend([arm] if arm is not baseline else [])
    max_tokens, floor = float(baseline["point"][0]), float(baseline["point"][1]) - FLOOR
    functions = {"hypervolume": partial(hypervolume, max_tokens=max_tokens, floor=floor), "tokens_at": tokens_at}
    measures = {
        name: {measure: resampled(function, members, baseline) for measure, function in functions.items()}
        for name, members in objectives.items()
    }
    ranking = rank(rows, measures, baseline["point"][1] - POINT)
    choice = best_choice([rows for arm in arms for rows in arm["runs"]])
    return {
        "phase": phase, "title": about.title, "task": about.task, "split": split, "num_problems": len(keys),
        "num_samples": args.num_samples, "steps": planned[0][2].overrides["max_steps"],
        "paper_options": args.paper_options, "reference_point": {"tokens": max_tokens, "accuracy": floor},
        "base_best_style": {"style": style, "value": bar}, "collapse_margin": MARGIN,
        "arms": rows, "ranking": ranking, "against_best_rival": against_rivals(ranking, measures),
        "best_choice": {"points": choice, "tokens_at": tokens_at(choice, baseline["point"]) if choice else None},
        "failures": failures,
    }  # fmt: skip


def read_arms(planned: list[tuple[str, object, Run]], folder: Path, split: str, keys: list[str]):
    """Arms at each strength with the samples, the table and the point of their runs; and the runs that failed."""
    arms, failures = {}, []
    for name, strength, run in planned:
        failed = folder / run.name / "failed.txt"
        if failed.exists():
            failures.append({"run": run.name, "error": failed.read_text().strip()})
            continue
        new = {"name": name, "strength": strength, "seeds": [], "runs": [], "tables": []}
        arm = arms.setdefault((name, json.dumps(strength)), new)
        rows = read_samples(folder / run.name / split)
        arm["seeds"].append(run.overrides["seed"])
        arm["runs"].append(rows)
        arm["tables"].append(table_of(rows, keys))
    resamples = Resamples(len(keys))
    for arm in arms.values():
        arm["point"], arm["drawn"] = resamples.points(arm["tables"])
    return list(arms.values()), failures


def row_of(arm: dict, baseline: dict, bar: float) -> dict:
    """What the results hold of an arm; a seed whose value is more than MARGIN below `bar` has collapsed."""
    rows, others = ([row for rows in one["runs"] for row in rows] for one in (arm, baseline))
    compared = compare(rows, others)
    by_seed = []
    for seed, table in zip(arm["seeds"], arm["tables"], strict=True):
        accuracy, tokens, log_cost = (float(table[name].mean()) for name in ("accuracy", "tokens", "log_cost"))
        reached = value(accuracy, log_cost)
        collapsed = bool(reached < bar - MARGIN)
        by_seed.append({"seed": seed, "accuracy": accuracy, "tokens": tokens, "value": reached, "collapsed": collapsed})
    styles, accuracy_of_styles = styles_of(rows)
    stems = ("accuracy_difference", "tokens_ratio", "speedup_bits")
    return {
        "objective": family(arm["name"]), "arm": arm["name"], "strength": arm["strength"],
        "label": label(arm["name"], arm["strength"]), "seeds": arm["seeds"],
        **named("accuracy", with_interval(arm["point"][1], arm["drawn"][:, 1])),
        **named("tokens_mean", with_interval(arm["point"][0], arm["drawn"][:, 0])),
        **{key: compared[key] for stem in stems for key in (stem, f"{stem}_low", f"{stem}_high")},
        "by_seed": by_seed, "collapses": sum(seed["collapsed"] for seed in by_seed),
        "styles": styles, "accuracy_of_styles": accuracy_of_styles,
    }  # fmt: skip


def resampled(function, arms: list[dict], baseline: dict) -> tuple[float, np.ndarray]:
    """function(points of the arms, point of the baseline): its value, and its values (R,) under resampling."""
    drawn = [function([arm["drawn"][r] for arm in arms], point) for r, point in enumerate(baseline["drawn"])]
    return function([arm["point"] for arm in arms], baseline["point"]), np.array(drawn)


def rank(rows: list[dict], measures: dict, least_accuracy: float) -> list[dict]:
    """The objectives at their best strengths, the best first: the rules that are written above."""
    ranking = []
    for name, measured in measures.items():
        own = [row for row in rows if row["objective"] == name]
        within = [row for row in own if row["accuracy"] >= least_accuracy]
        best = min(within, key=lambda r: r["tokens_mean"]) if within else max(own, key=lambda r: r["accuracy"])
        ranking.append(
            {
                "objective": name, **{key: best[key] for key in ("arm", "strength", "label")}, "within": bool(within),
                "best_accuracy": max(row["accuracy"] for row in own),
                **{key: end for measure, (number, drawn) in measured.items()
                   for key, end in named(measure, with_interval(number, drawn)).items()},
                "collapses": sum(row["collapses"] for row in own),
            }
        )  # fmt: skip
    return sorted(ranking, key=lambda r: (not r["within"], r["tokens_at"] if r["within"] else -r["best_accuracy"]))


def against_rivals(ranking: list[dict], measures: dict) -> dict | None:
    """Ours over the rival that is best in each measure: ratio of hypervolumes, ratio of tokens at equal accuracy.

    A ratio is NaN, unknown, where the rival's measure is 0 in a resample: there would be no end to it.
    """
    rivals = [row for row in ranking if row["objective"] not in (OURS, BASELINE)]
    if not rivals or OURS not in measures:
        return None
    out = {}
    for measure, choose in (("hypervolume", max), ("tokens_at", min)):
        rival = choose(rivals, key=lambda row: row[measure])["objective"]
        (mine, drawn), (other, other_drawn) = measures[OURS][measure], measures[rival][measure]
        known = other and other_drawn.all()
        ratio = with_interval(mine / other, drawn / other_drawn) if known else Estimate(*[float("nan")] * 3)
        out |= {f"{measure}_rival": rival, **named(f"{measure}_ratio", ratio)}
    return out


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
    base = base_run(args.phase, args)
    runs = [base, *(run for _, _, run in planned)]
    for run in runs:  # before any of them takes its time
        check_settings(run, folder)
    if not args.summarise_only:
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(partial(make_or_note, folder=folder), runs))
    ends = (f"{PHASES[args.phase].split}/results.json", "failed.txt")
    if not (folder / base.name / ends[0]).exists():
        raise SystemExit(f"{folder} holds no finished {base.name}: leave out --summarise_only, or see its log.txt")
    planned = [entry for entry in planned if any((folder / entry[2].name / end).exists() for end in ends)]
    result = finite(summarise(args.phase, args, planned))
    args.output_path.mkdir(parents=True, exist_ok=True)
    path = args.output_path / f"objectives_{args.phase}.json"
    provenance = origin([base, *(run for _, _, run in planned)], folder)
    write_json(path, {"result": result, "provenance": provenance})
    plot(result, args.plot_path / f"objectives_{args.phase}")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
