"""Samples at several budgets -> measures of the sweep: the frontier, what a given accuracy costs, and obedience."""

import numpy as np

from timecost.evaluation import metrics
from timecost.evaluation.metrics import named
from timecost.evaluation.records import problem_key, problem_table
from timecost.evaluation.results import budget_order, finite, key_of

TARGETS = tuple(round(0.1 * i, 1) for i in range(1, 10))  # accuracies that `tokens_at_accuracy` is given at


def sweeps_of(records: list[dict], samples: list[dict]) -> list[dict]:
    """One sweep for each (model, task, enforce) with at least two budgets, one of them a bound on thinking or auto.

    The prices of a value head are a sweep like the budgets of a way to enforce them. Nothing is enforced at budgets 0
    and inf, so they belong to the sweep of every `enforce`.
    """
    bounded = [r for r in records if r["budget"] not in ("0", "inf")]
    out = []
    for model, task, enforce in sorted({(r["model"], r["task"], r.get("enforce", "none")) for r in bounded}):
        chosen = [
            r for r in records
            if (r["model"], r["task"]) == (model, task)
            and (r["budget"] in ("0", "inf") or r.get("enforce", "none") == enforce)
        ]  # fmt: skip
        if len(chosen) > 1:
            chosen.sort(key=budget_order)
            rows = {key_of(r): [] for r in chosen}
            for row in samples:
                if key_of(row) in rows:
                    rows[key_of(row)].append(row)
            out.append(finite({"model": model, "task": task, "enforce": enforce, **sweep(chosen, list(rows.values()))}))
    return out


def sweep(records: list[dict], rows_of: list[list[dict]]) -> dict:
    """Measures of a sweep, from the records of one model on one task by rising budget, and their samples."""
    tokens, accuracy = (
        np.array([r[name] if r[name] is not None else np.nan for r in records]) for name in ("tokens_mean", "accuracy")
    )
    known = np.isfinite(accuracy)
    budgets = [key_of(record)[2] for record in records]
    most = float(max(record["max_completion_length"] for record in records))
    unbounded = rows_of[-1] if budgets[-1] == "inf" else None
    at_inf = accuracy[-1] if unbounded is not None else float("nan")
    kept = np.flatnonzero(known)
    return {
        "budgets": budgets,
        "points": [point(record, rows, unbounded, most) for record, rows in zip(records, rows_of, strict=True)],
        "frontier": [budgets[kept[i]] for i in metrics.frontier(tokens[known], accuracy[known])],
        **named("hypervolume", hypervolume(tokens, accuracy, rows_of, most)),
        "hypervolume_max_tokens": most,
        "tokens_at_accuracy": {
            str(target): metrics.tokens_at_accuracy(tokens[known], accuracy[known], target) for target in TARGETS
        },
        "tokens_within_one_point": metrics.tokens_at_accuracy(tokens[known], accuracy[known], at_inf - 0.01)
        if np.isfinite(at_inf)
        else None,
        "accuracy_rises": bool((np.diff(accuracy[known]) >= 0).all()),
        "tokens_rise": bool((np.diff(tokens) >= 0).all()),
    }


def point(record: dict, rows: list[dict], unbounded: list[dict] | None, horizon: float) -> dict:
    """Accuracy and tokens at one budget, how closely the budget was kept, and the area under the anytime curve."""
    thinking, answer = (np.array([row[f"{name}_tokens"] for row in rows], float) for name in ("thinking", "answer"))
    correct = np.array([row["status"] == "correct" for row in rows])
    out = {"budget": key_of(record)[2]}
    for name in ("accuracy", "tokens_mean"):
        out |= {key: record[key] for key in (name, f"{name}_low", f"{name}_high")}
    out["anytime_area"] = float(np.mean(metrics.anytime_area(correct, thinking + answer, horizon)))
    obeyed = dict.fromkeys(("adherence_error", "binding_rate", "over_rate", "overshoot_p95", "escape_rate"))
    if unbounded is not None and record["budget"] not in ("0", "inf", "auto"):
        needs: dict[str, list[float]] = {}
        for row in unbounded:
            needs.setdefault(problem_key(row), []).append(row["thinking_tokens"])
        need = np.array([np.mean(needs.get(problem_key(row), [np.nan])) for row in rows])
        obeyed |= metrics.adherence(thinking, np.full(len(rows), float(record["budget"])), need)
    if unbounded is not None and record["budget"] != "inf":
        obeyed["escape_rate"] = metrics.escape_rate(answer, np.array([row["answer_tokens"] for row in unbounded]))
    return out | obeyed


def hypervolume(tokens, accuracy, rows_of: list[list[dict]], max_tokens: float) -> metrics.Estimate:
    """The hypervolume with its interval, problems being resampled for all budgets alike; (B,) tokens and accuracies."""
    keys = list(dict.fromkeys(problem_key(row) for row in rows_of[0]))
    tables = [problem_table(rows, keys) for rows in rows_of]
    used = np.stack([table["tokens_mean"] for table in tables], 1)  # (P, B)
    with np.errstate(divide="ignore", invalid="ignore"):
        right = np.stack([table["num_correct"] / table["num_scored"] for table in tables], 1)
    whole = np.isfinite(used).all(1) & np.isfinite(right).all(1)
    value = metrics.hypervolume(tokens[np.isfinite(accuracy)], accuracy[np.isfinite(accuracy)], max_tokens)
    if not whole.any():
        return metrics.Estimate(value, float("nan"), float("nan"))
    counts = metrics.bootstrap_counts(int(whole.sum())) / whole.sum()
    pairs = zip(counts @ used[whole], counts @ right[whole], strict=True)
    return metrics.with_interval(value, np.array([metrics.hypervolume(t, a, max_tokens) for t, a in pairs]))
