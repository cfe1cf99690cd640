"""What a price means: more of it takes less time, a stated target is met, and what collapses is noticed.

    python scripts/measure_price.py --jobs 2

Reads the runs of reproduce_arithmetic.py (sets main and elasticity) and makes, in the same folder,
    target      levin under dual control, to at most 1 point below `accuracy`, and to at most 20 tokens; seeds 0, 1, 2
    collapse    a rival at a price that is too high, with the guard and without, seed 0
Writes docs/results/price.json. A run that is there is not made again.
"""

import argparse
import statistics
from pathlib import Path

from objective_measures import MARGIN, best_style, table_of, value
from reproduce_arithmetic import ELASTICITIES, SEEDS, Results, Run, make_all, origin

SPLITS = {"test": 2000}
MOST_LOST, MOST_TOKENS = 0.01, 20
RIVAL = {"objective": "net", "objective_kwargs": {"price": 0.02}}
TWICE = 0.1  # twice the recipe's elasticity


def plan(reference_accuracy: float) -> dict[str, list[Run]]:
    """The runs; dual control knows `accuracy`'s accuracy on validation problems, not on those it is judged on."""
    dual = {"price_schedule": "dual"}
    targets = {
        "accuracy": {**dual, "max_accuracy_loss": MOST_LOST, "reference_accuracy": round(reference_accuracy, 4)},
        "cost": {**dual, "max_mean_cost": MOST_TOKENS},
    }
    runs = {
        f"target_{name}": [
            Run(f"target_{name}-{seed}", "arithmetic_levin", SPLITS, {"seed": seed, **target}) for seed in SEEDS
        ]
        for name, target in targets.items()
    }
    runs["collapse"] = [
        Run("collapse_free", "arithmetic_levin", SPLITS, {"seed": 0, **RIVAL}),
        Run("collapse_guarded", "arithmetic_levin", SPLITS, {"seed": 0, **RIVAL, "collapse_guard": True}),
    ]
    return runs


def inversions(results: Results) -> list[dict]:
    """Each price against the one before it: the ratio of tokens, which should lie below 1, seeds pooled and alone."""
    from timecost.evaluation.records import compare
    from timecost.options import find_recipe, load_recipe

    default = load_recipe(find_recipe("arithmetic_levin"))["time_elasticity"]
    arms = {0.0: "accuracy", default: "levin"} | {price: f"elasticity-{price}" for price in ELASTICITIES}
    prices, rows = sorted(arms), []
    for low, high in zip(prices, prices[1:], strict=False):
        for seeds in (*((seed,) for seed in SEEDS), SEEDS):
            dearer, cheaper = (
                results.samples([f"{arms[price]}-{seed}" for seed in seeds], "test") for price in (high, low)
            )
            compared = compare(dearer, cheaper)
            ratio = {key: compared[key] for key in ("tokens_ratio", "tokens_ratio_low", "tokens_ratio_high")}
            inverted = ratio["tokens_ratio_low"] > 1
            rows.append({"elasticity": high, "against": low, "seeds": list(seeds), **ratio, "inverted": inverted})
    return rows


def targets_met(results: Results, runs: dict[str, list[Run]]) -> list[dict]:
    """What dual control was told and what came of it on test problems; a completion's cost is its tokens plus one.

    Test problems are distinct, so that short ones are rare among them; training draws every difficulty as often, and
    the target is about what training draws. It is judged with difficulties counting equally, beside the plain means.
    """

    def equally(record: dict, name: str) -> float:
        return statistics.mean(level[name] for level in record["by_difficulty"].values())

    rows = []
    for seed in SEEDS:
        best = results.record([f"accuracy-{seed}"], "test")
        for name in ("accuracy", "cost"):
            record = results.record([f"target_{name}-{seed}"], "test")
            row = {"target": name, "seed": seed, "accuracy": record["accuracy"], "tokens": record["tokens_mean"]}
            row["overrides"] = runs[f"target_{name}"][SEEDS.index(seed)].overrides
            row["lost"] = equally(best, "accuracy") - equally(record, "accuracy")
            row["cost"] = equally(record, "tokens_mean") + 1
            row["met"] = row["lost"] <= 2 * MOST_LOST if name == "accuracy" else row["cost"] <= 1.05 * MOST_TOKENS
            rows.append(row)
    return rows


def collapses(results: Results) -> dict:
    """log p - 0.05 E[log T] of each run, against that of the start model's best style less a margin."""
    from timecost.evaluation.records import problem_key

    base = results.samples(["base"], "test")
    keys = list(dict.fromkeys(map(problem_key, base)))
    style, bar = best_style(base)

    def judged(name: str) -> dict:
        table = table_of(results.samples([name], "test"), keys)
        accuracy, tokens = float(table["accuracy"].mean()), float(table["tokens"].mean())
        reached = value(accuracy, table["log_cost"].mean())
        return {"accuracy": accuracy, "tokens": tokens, "value": reached, "collapsed": bool(reached < bar - MARGIN)}

    rival = {name: judged(f"collapse_{name}") for name in ("free", "guarded")}
    log = results.log("collapse_guarded")
    rival["guarded"]["price_factor"] = [row["timecost/price_factor"] for row in log if "timecost/price_factor" in row]
    ours = {f"seed {seed}": judged(f"elasticity-{TWICE}-{seed}") for seed in SEEDS}
    return {"best_style": style, "value": bar, "margin": MARGIN, "levin at twice its elasticity": ours, "rival": RIVAL,
            "rival_runs": rival}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one core each")
    parser.add_argument("--work_dir", type=Path, default=Path("outputs/reproduce"))
    parser.add_argument("--output_path", type=Path, default=Path("docs/results/price.json"))
    args = parser.parse_args()
    results = Results(args.work_dir)
    reference = [Run(f"accuracy-{seed}", "arithmetic_accuracy", {"validation": 1000}, {"seed": seed}) for seed in SEEDS]
    make_all(reference, args.work_dir, args.jobs)
    accuracies = [results.record([run.name], "validation")["accuracy"] for run in reference]
    runs = plan(statistics.mean(accuracies))
    made = [run for some in runs.values() for run in some]
    make_all(made, args.work_dir, args.jobs)

    from timecost.evaluation.results import finite, write_json

    result = {"prices": inversions(results), "targets": targets_met(results, runs), "collapses": collapses(results)}
    args.output_path.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.output_path, {"result": finite(result), "provenance": origin(made, args.work_dir)})
    print(f"wrote {args.output_path}")


if __name__ == "__main__":
    main()
