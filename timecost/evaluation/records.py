"""Samples -> measures: the record of a model on a task, and its comparison with another on the same problems."""

from pathlib import Path

import numpy as np

from timecost.errors import UserError, nearest
from timecost.evaluation import metrics
from timecost.evaluation.metrics import named
from timecost.evaluation.results import (
    RESULTS,
    finite,
    key_of,
    locked,
    read_results,
    read_samples,
    write_json,
)
from timecost.provenance import command_line

PROMPT_COST = 1.0  # tokens; TimeCostConfig's default
PASS_AT = (1, 2, 4, 8, 16, 32)


def make_record(rows: list[dict], settings: dict, reference: list[dict] | None = None) -> dict:
    """The record of one (model, task, budget, enforce) from its samples, and from a reference model's if there is one.

    It is what JSON gives back: keys are strings, and what the data do not determine is None.
    """
    table = problem_table(rows)
    status = np.array([row["status"] for row in rows])
    thinking = np.array([row["thinking_tokens"] for row in rows])
    answer = np.array([row["answer_tokens"] for row in rows])
    scored, correct = table["num_scored"], table["num_correct"]
    most = int(scored.max(initial=0))
    most = min(most, settings.get("num_samples", most))  # equal prompts make one problem with more samples
    model, task, _, enforce = key_of(rows[0])
    budget = rows[0]["budget"]
    record = {
        "model": model,
        "task": task,
        "budget": budget,
        "enforce": enforce,
        **settings,
        "num_problems": len(scored),
        **named("accuracy", metrics.accuracy(scored, correct)),
        "pass_at_k": {k: metrics.pass_at_k(scored, correct, k) for k in PASS_AT if k <= most},
        **metrics.token_statistics(thinking, answer, status),
        **tokens_interval(table),
        # without a budget nothing can overshoot
        "overshoot_rate": None if budget in ("inf", "auto") else share(thinking > int(budget)),
        "stop_causes": shares_of(rows, "stop_cause"),
        **({"looks_mean": float(np.mean([row["looks"] for row in rows]))} if budget == "auto" else {}),
        "seconds_mean": float(np.mean([row.get("seconds", np.nan) for row in rows])),
        "answer_rate": share(row["answered"] for row in rows),
        "truncation_rate": share(not row["finished"] for row in rows),
        "verifier_error_rate": share(status == "verifier_error"),
        "styles": shares_of(rows, "style"),
        "by_difficulty": by_difficulty(rows),
        "by_style": by_style(rows),
        **compare(rows, reference),
    }
    return finite(record)


def problem_key(row: dict) -> str:
    """What makes two samples, of whatever model and run, samples of the same problem: its text and its answer."""
    prompt = row["prompt"] if isinstance(row["prompt"], str) else row["prompt"][-1]["content"]
    return f"{prompt}\n{row['answer']}"


def problem_table(rows: list[dict], keys: list[str] | None = None) -> dict[str, np.ndarray]:
    """Sums per problem (P,): num_samples, num_scored, num_correct, tokens_mean, cost_mean (of scored samples).

    Problems stand in the order of `keys` (default: of first appearance); samples of other problems are left out.
    """
    keys = list(dict.fromkeys(map(problem_key, rows))) if keys is None else keys
    position = {key: i for i, key in enumerate(keys)}
    index = np.array([position.get(problem_key(row), -1) for row in rows])
    known = index >= 0
    tokens = np.array([row["thinking_tokens"] + row["answer_tokens"] for row in rows], dtype=float)
    scored = np.array([row["status"] != "verifier_error" for row in rows])
    correct = np.array([row["status"] == "correct" for row in rows])

    def total(values):
        return np.bincount(index[known], weights=values[known], minlength=len(keys))

    num_samples, num_scored, num_correct = (total(v).astype(int) for v in (np.ones(len(rows)), scored, correct))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "num_samples": num_samples,
            "num_scored": num_scored,
            "num_correct": num_correct,
            "tokens_mean": total(tokens) / num_samples,
            "cost_mean": total((tokens + PROMPT_COST) * scored) / num_scored,
        }


def compare(rows: list[dict], reference: list[dict] | None) -> dict:
    """Measures of a model against a reference on the problems that both have; all None without a reference.

    Raises UserError when they share no problem.
    """
    names = ("speedup_bits", "speedup_bits_pooled", "accuracy_difference", "tokens_ratio", "allocation_slope")
    if reference is None:
        unknown = {key: None for name in names for key in (name, f"{name}_low", f"{name}_high")}
        return {"reference": None, "num_problems_compared": None, "savant": None, **unknown}
    theirs = {problem_key(row) for row in reference}
    difficulty = {problem_key(row): row["difficulty"] for row in rows if problem_key(row) in theirs}
    keys = list(difficulty)
    if not keys:
        raise UserError(f"the reference has no problem of {rows[0]['task']} in common: same --split, --num_problems?")
    mine, other = problem_table(rows, keys), problem_table(reference, keys)
    with np.errstate(divide="ignore", invalid="ignore"):
        accuracies = [table["num_correct"] / table["num_scored"] for table in (mine, other)]
    slope = metrics.Estimate(*[float("nan")] * 3)
    if None not in difficulty.values():
        slope = metrics.allocation_slope(np.array(list(difficulty.values())), mine["tokens_mean"], other["tokens_mean"])
    difference = metrics.accuracy_difference(*accuracies)
    speedup = metrics.speedup_bits(mine, other)
    return {
        "reference": reference[0]["model"],
        "num_problems_compared": len(keys),
        **speedup,
        **named("accuracy_difference", difference),
        "savant": difference.low > 0 and not speedup["speedup_bits_low"] > 0,  # more accurate and not faster
        **named("tokens_ratio", metrics.token_ratio(mine["tokens_mean"], other["tokens_mean"])),
        **named("allocation_slope", slope),
    }


def compare_all(folder: str | Path, reference_model: str) -> list[dict]:
    """Measure every record of a folder against one of its models, write them back and return them."""
    with locked(Path(folder)):
        results, samples = read_results(folder), read_samples(folder)
        records = []
        for record in results["records"]:
            rows = [row for row in samples if key_of(row) == key_of(record)]
            reference = pick_reference(samples, record["task"], reference_model)
            records.append(finite({**record, **compare(rows, reference)}))
        written = {"records": records, "provenance": {**results["provenance"], "command": command_line()}}
        write_json(Path(folder) / RESULTS, {**results, **written})
    return records


def pick_reference(samples: list[dict], task: str, model: str | None = None) -> list[dict]:
    """The samples of one model on a task: those without a bound on thinking, where there are several budgets.

    Raises UserError when there is none, or several and `model` does not say which.
    """
    models = list(dict.fromkeys(row["model"] for row in samples if row["task"] == task))
    if not models:
        raise UserError(f"the reference holds no samples of task {task}: evaluate the reference model on it first")
    if model is None and len(models) > 1:
        raise UserError(f"the reference holds {len(models)} models, say which: --reference_model {'|'.join(models)}")
    model = model or models[0]
    if model not in models:
        raise UserError(f"the reference holds no model '{model}'{nearest(model, models)} (only {', '.join(models)})")
    rows = [row for row in samples if row["task"] == task and row["model"] == model]
    keys = list(dict.fromkeys(map(key_of, rows)))
    if len(keys) > 1:
        rows = [row for row in rows if row["budget"] == "inf"]
    if not rows:
        raise UserError(f"the reference holds '{model}' on {task} at several budgets and not at inf: evaluate it there")
    return rows


def share(flags) -> float:
    return float(np.mean(list(flags)))


def tokens_interval(table: dict[str, np.ndarray]) -> dict[str, float]:
    """The interval of the mean tokens per completion."""
    estimate = metrics.mean(table["tokens_mean"])
    return {"tokens_mean_low": estimate.low, "tokens_mean_high": estimate.high}


def shares_of(rows: list[dict], name: str) -> dict[str, float]:
    """Share of each value of a column, the most frequent first; empty where no row has it."""
    values, counts = np.unique([row[name] for row in rows if name in row], return_counts=True)
    return {str(values[i]): float(counts[i] / counts.sum()) for i in np.argsort(-counts, kind="stable")}


def by_difficulty(rows: list[dict]) -> dict[int, dict]:
    """Accuracy, tokens and styles at each difficulty; empty for a task without difficulties."""
    out = {}
    for difficulty in sorted({row["difficulty"] for row in rows} - {None}):
        here = [row for row in rows if row["difficulty"] == difficulty]
        table = problem_table(here)
        out[difficulty] = {
            "num_problems": len(table["num_scored"]),
            **named("accuracy", metrics.accuracy(table["num_scored"], table["num_correct"])),
            "tokens_mean": float(np.mean([row["thinking_tokens"] + row["answer_tokens"] for row in here])),
            **tokens_interval(table),
            "styles": shares_of(here, "style"),
        }
    return out


def by_style(rows: list[dict]) -> dict[str, dict]:
    """What each style costs and how often it is right, at each difficulty: style -> difficulty -> measures.

    The samples that happen to be of a style stand for the model that is made to use it. `usual` measures those of them
    that think for the style's most frequent number of tokens (the larger of two), so that a trace closed early, which
    training can do away with, does not count against its style.
    """
    cells: dict[tuple, list[dict]] = {}
    for row in rows:
        if "style" in row and row["difficulty"] is not None and row["status"] != "verifier_error":
            cells.setdefault((row["style"], row["difficulty"]), []).append(row)
    out: dict[str, dict] = {}
    for (style, difficulty), here in sorted(cells.items()):
        lengths, counts = np.unique([row["thinking_tokens"] for row in here], return_counts=True)
        usual = lengths[counts == counts.max()].max()
        out.setdefault(style, {})[difficulty] = {
            **style_cell(here),
            "usual": style_cell([row for row in here if row["thinking_tokens"] == usual]),
        }
    return out


def style_cell(rows: list[dict]) -> dict[str, float]:
    return {
        "num_samples": len(rows),
        "accuracy": share(row["status"] == "correct" for row in rows),
        "tokens_mean": float(np.mean([row["thinking_tokens"] + row["answer_tokens"] for row in rows])),
    }
