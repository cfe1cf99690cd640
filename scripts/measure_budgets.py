"""How models that were trained on budgets and on efforts obey them; writes docs/results/budgets.json and efforts.json.

    python scripts/measure_budgets.py --jobs 2
    python scripts/measure_budgets.py --jobs 2 --sets efforts

Trains the recipe arithmetic_budget with three seeds (or takes the models that are there) and samples the same test
problems at every rung and between the rungs, by the prompt alone (none) and with the bound enforced (hard). Beside it,
from `scripts/reproduce_arithmetic.py --sets main`: the model of arithmetic_accuracy, cut at the same bounds, and that
of arithmetic_levin, which knows no budget. The set efforts does the same with the recipe arithmetic_effort, at each of
its efforts. Intervals are 95 %, from a bootstrap over problems, seeds pooled.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from reproduce_arithmetic import SEEDS, Run, make

RUNGS, BETWEEN = (8, 16, 32, 64), (12, 24, 48)
EFFORTS = ("low", "medium", "high")
REQUEST = ("budget", "enforce", "condition", "effort")


def sample(model_path: str, requests: list, num_problems: int, num_samples: int, seed: int, path: str) -> None:
    """Replies of one model to each REQUEST, one JSON line each with the problem's difficulty."""
    path = Path(path)
    if path.exists():
        return
    import torch

    from timecost.generation import generate
    from timecost.loading import load_model_to_use
    from timecost.tasks import arithmetic

    torch.set_num_threads(1)
    model, tokenizer = load_model_to_use(model_path)
    problems = arithmetic.problems("test", num_problems)
    order = sorted(range(num_problems), key=lambda i: len(problems[i].prompt))
    jobs = [i for i in order for _ in range(num_samples)]
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w") as file:
        for budget, enforce, condition, effort in requests:
            for start in range(0, len(jobs), 256):
                batch = jobs[start : start + 256]
                replies = generate(
                    model, tokenizer, [problems[i].prompt for i in batch], [budget] * len(batch), enforce=enforce,
                    condition=condition, effort=effort, max_answer_tokens=8, max_thinking_tokens=96,
                    seed=seed * 1000 + start,
                )  # fmt: skip
                for i, reply in zip(batch, replies, strict=True):
                    row = {
                        "budget": budget, "enforce": enforce, "condition": condition, "effort": effort, "problem": i,
                        "difficulty": problems[i].difficulty, "thinking": reply.thinking_tokens,
                        "tokens": reply.thinking_tokens + reply.answer_tokens,
                        "answered": bool(reply.answer), "escaped": len(reply.answer) > 1,
                        "correct": reply.answer == problems[i].answer, "over": reply.overshoot > 0,
                    }  # fmt: skip
                    file.write(json.dumps(row) + "\n")
    part.rename(path)


def measures(rows: list[dict], num_problems: int, unbounded: np.ndarray | None, rung: np.ndarray | None) -> dict:
    """Means over problems with intervals, and the mean use of a budget by the problems that it binds.

    `unbounded` (P,) are the thinking tokens that problems take without a bound, `rung` (P,) what `rungs_needed` gives.
    """
    from timecost.evaluation.metrics import mean

    out = {}
    for name in ("correct", "thinking", "tokens", "over", "answered", "escaped"):
        estimate = mean(per_problem(rows, name, num_problems))
        out[name] = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    budget = rows[0]["budget"]
    if unbounded is not None and budget:
        used = per_problem(rows, "thinking", num_problems) / budget
        for name, binds in (("needed", rung == budget), ("exceeded_without_bound", unbounded >= budget)):
            out[f"use_where_{name}"] = used[binds].mean() if binds.any() else None
            out[f"problems_where_{name}"] = int(binds.sum())
    return out


def rungs_needed(rows: list[dict], num_problems: int) -> np.ndarray:
    """The rung that each problem needs, (P,): the smallest that holds its shortest worked solution, in pairs.

    0 where none is needed: problems of a difficulty that is answered without thinking at least 95 % of the time.
    """
    from timecost.budget import smallest_rung
    from timecost.tasks import arithmetic

    direct = {}
    for row in rows:
        if row["budget"] == 0:
            direct.setdefault(row["difficulty"], []).append(row["correct"])
    easy = {difficulty for difficulty, correct in direct.items() if np.mean(correct) >= 0.95}
    return np.array([
        0 if problem.difficulty in easy
        else smallest_rung(len("".join(arithmetic.write_pass(problem, problem.values, "pairs"))), RUNGS) or np.inf
        for problem in arithmetic.problems("test", num_problems)
    ])  # fmt: skip


def against_levin(rows: list[dict], levin: list[dict], num_problems: int) -> dict:
    """Accuracy over that of `levin` at its mean tokens, of the best mixture of two requests that only the prompt makes.

    A mixture answers a share of the problems at one request and the rest at another, drawn at random.
    """
    from timecost.evaluation.metrics import mean

    requests = {}
    for row in rows:
        if row["enforce"] == "none":
            requests.setdefault(row["budget"], []).append(row)
    points = [
        (np.nanmean(per_problem(found, "tokens", num_problems)), per_problem(found, "correct", num_problems), budget)
        for budget, found in requests.items()
    ]
    at = np.nanmean(per_problem(levin, "tokens", num_problems))
    best = None
    for low, accuracy_low, one in points:
        for high, accuracy_high, other in points:
            if low <= at < high:
                share = (high - at) / (high - low)
                mixed = share * accuracy_low + (1 - share) * accuracy_high
                if best is None or mixed.mean() > best[0].mean():
                    best = mixed, {"budgets": [one, other], "shares": [share, 1 - share]}
    if best is None:
        return {"tokens": at, "accuracy_difference": None}
    difference = mean(best[0] - per_problem(levin, "correct", num_problems))
    return {
        "tokens": at, **best[1], "accuracy": best[0].mean(), "accuracy_difference": difference.value,
        "accuracy_difference_low": difference.low, "accuracy_difference_high": difference.high,
    }  # fmt: skip


def per_problem(rows: list[dict], name: str, num_problems: int) -> np.ndarray:
    total, count = np.zeros(num_problems), np.zeros(num_problems)
    for row in rows:
        total[row["problem"]] += row[name]
        count[row["problem"]] += 1
    return total / np.where(count > 0, count, np.nan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--sets", default="budgets", help="budgets, efforts, or both, separated by a comma")
    parser.add_argument("--num_problems", type=int, default=2000)
    parser.add_argument("--num_samples", type=int, default=4)
    parser.add_argument("--work_dir", type=Path, default=Path("outputs/reproduce"))
    parser.add_argument("--output_path", type=Path, default=Path("docs/results"), help="folder")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return sample(*json.loads(args.one))
    for name in args.sets.split(","):
        measure(name, args)


def measure(name: str, args) -> None:
    """Train and sample the models of one set, and write its results."""
    from timecost.evaluation.results import finite, write_json
    from timecost.provenance import provenance

    free = [(None, "none", False, None)]
    cut = [(budget, "hard", False, None) for budget in (*RUNGS, *BETWEEN)]
    asked = [(budget, mode, True, None) for budget in RUNGS for mode in ("none", "hard")]
    asked += [(budget, "hard", True, None) for budget in (0, *BETWEEN)]
    plans = {
        "budgets": {"budget": asked + free, "accuracy": cut + free, "levin": free},
        "efforts": {"effort": [(None, "none", False, effort) for effort in EFFORTS]},
    }[name]
    trained = next(iter(plans))  # the others are those of reproduce_arithmetic.py

    def run(seed: int) -> None:
        make(Run(f"{trained}-{seed}", f"arithmetic_{trained}", {}, {"seed": seed}), args.work_dir)
        for model, plan in plans.items():
            folder = args.work_dir / f"{model}-{seed}"
            task = [str(folder / "model"), plan, args.num_problems, args.num_samples, seed]
            # a process of its own: sampling draws from torch's global generator
            command = [sys.executable, __file__, "--one", json.dumps([*task, str(folder / f"{name}.jsonl")])]
            subprocess.run(command, check=True)

    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(run, SEEDS))

    def rows_of(model: str, seeds) -> list[dict]:
        paths = [args.work_dir / f"{model}-{seed}" / f"{name}.jsonl" for seed in seeds]
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    def table(seeds) -> dict:
        out = {}
        for model in plans:
            found = rows_of(model, seeds)
            unasked = [row for row in found if row["budget"] is None and row.get("effort") is None]
            unbounded = per_problem(unasked, "thinking", args.num_problems) if unasked else None
            rung = rungs_needed(found, args.num_problems)
            out[model] = []
            for key in dict.fromkeys(tuple(row.get(part) for part in REQUEST) for row in found):
                chosen = [row for row in found if tuple(row.get(part) for part in REQUEST) == key]
                out[model].append(
                    dict(zip(REQUEST, key, strict=True)) | measures(chosen, args.num_problems, unbounded, rung)
                )
        if name == "budgets":
            out["against_levin"] = against_levin(rows_of("budget", seeds), rows_of("levin", seeds), args.num_problems)
        return out

    result = {
        "num_problems": args.num_problems, "num_samples": args.num_samples, "pooled": table(SEEDS),
        "seeds": {str(seed): table([seed]) for seed in SEEDS},
    }  # fmt: skip
    args.output_path.mkdir(parents=True, exist_ok=True)
    path = args.output_path / f"{name}.json"
    write_json(path, finite({"result": result, "provenance": provenance()}))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
