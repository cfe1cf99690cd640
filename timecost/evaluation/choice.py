"""Which model, at which budget, to use when an answer may cost so many tokens: the report's recommendation.

A setting is a record: a model asked for a budget. Within a limit on mean tokens the most accurate setting is chosen,
and the sentence that says so compares it with the best setting of another model, paired by problem where samples are
there.
"""

import shlex

import numpy as np

from timecost.evaluation import figures, metrics
from timecost.evaluation.records import problem_key, problem_table
from timecost.evaluation.results import key_of


def setting_name(record: dict, names: dict[str, str], budgets: bool) -> str:
    """What a reader calls a record: the model, and the budget and its enforcement where some record has one."""
    name = names[record["model"]]
    if not budgets:
        return name
    said = {"inf": "no budget", "0": "no thinking"}.get(record["budget"], f"budget {key_of(record)[2]}")
    way = record.get("enforce", "none")
    return f"{name}, {said}" + (f" ({way} bound)" if figures.is_bounded(record) and way != "none" else "")


def choices(records: list[dict], samples: list[dict]) -> list[dict]:
    """The recommendation at each limit where it changes, by rising limit: {"limit", "name", "record", "why", "first"}.

    `limit` is in mean tokens per completion, thinking and answer; a choice holds up to the next one's limit. `first`
    is false where only what it is compared with has changed. Empty where no accuracy is known.
    """
    known = [r for r in records if r["accuracy"] is not None]
    names = figures.short_names(r["model"] for r in records)
    budgets = any(r["budget"] != "inf" for r in records)
    rows_of: dict[tuple, list[dict]] = {key_of(r): [] for r in known}
    for row in samples:
        if key_of(row) in rows_of:
            rows_of[key_of(row)].append(row)
    differences: dict[tuple, metrics.Estimate | None] = {}
    out: list[dict] = []
    for limit in sorted({r["tokens_mean"] for r in known}):
        within = sorted(
            (r for r in known if r["tokens_mean"] <= limit), key=lambda r: (-r["accuracy"], r["tokens_mean"])
        )
        best = within[0]
        rival = next((r for r in within if r["model"] != best["model"]), None)
        if out and (best, rival) == (out[-1]["record"], out[-1]["rival"]):
            continue
        pair = (key_of(best), rival and key_of(rival))
        if pair not in differences:
            differences[pair] = rival and paired(rows_of[pair[0]], rows_of[pair[1]])
        out.append({
            "limit": limit, "record": best, "rival": rival, "name": setting_name(best, names, budgets),
            "first": not out or best is not out[-1]["record"], "command": command(best),
            "why": why(best, rival, rival and setting_name(rival, names, budgets), differences[pair]),
        })  # fmt: skip
    return out


def why(best: dict, rival: dict | None, rival_name: str | None, difference) -> str:
    """What speaks for a setting: what it reaches, and how sure its lead over the best of another model is."""
    text = (
        f"{100 * best['accuracy']:.1f} %{interval(best, 'accuracy', 100)} right with {best['tokens_mean']:.1f} tokens "
        f"on average; 95 of 100 of its completions take at most {best['tokens_p95']:.0f}."
    )
    if rival is None:
        return text + " No other model is this cheap."
    text += (
        f" The best of another model within this limit is {rival_name}, {100 * rival['accuracy']:.1f} % right with "
        f"{rival['tokens_mean']:.1f} tokens"
    )
    if difference is None:
        return text + "."
    points, low, high = (100 * value for value in difference)
    chance = "may be chance, these problems do not tell the two apart"
    sure = "would likely hold on others of the kind" if low > 0 else chance
    text += f": the lead of {points:.1f} points [{low:+.1f}, {high:+.1f}] on the same problems {sure}."
    saved = best["tokens_mean"] - rival["tokens_mean"]
    return text + (f" The other takes {saved:.1f} tokens less." if saved >= 0.05 else "")


def paired(mine: list[dict], other: list[dict]) -> metrics.Estimate | None:
    """Difference of accuracy on the problems that both have; None without samples."""
    theirs = {problem_key(row) for row in other}
    keys = list(dict.fromkeys(key for key in map(problem_key, mine) if key in theirs))
    if not keys:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (t["num_correct"] / t["num_scored"] for t in (problem_table(mine, keys), problem_table(other, keys)))
    estimate = metrics.accuracy_difference(a, b)
    return estimate if np.isfinite(estimate.value) else None


def command(record: dict) -> str | None:
    """How to ask for what was measured, None for a baseline or where the path of the model is not known."""
    path = record.get("model_name_or_path")
    if not path or record.get("baseline"):
        return None
    parts = ["timecost", "generate", "--model_name_or_path", str(path)]
    if record["budget"] != "inf":
        parts += ["--budget", record["budget"]]
    if record["budget"] == "auto":
        parts += ["--price", record["price"]]
        parts += [] if record["cost_model"] == "tokens" else ["--cost_model", record["cost_model"]]
        for name in ("least_value", "decline_novel", "value_head"):
            parts += [] if record.get(name) is None else [f"--{name}", str(record[name])]
        parts += [] if record.get("clip", True) else ["--no_clip"]
    if figures.is_bounded(record):
        parts += ["--enforce", record.get("enforce", "none")]
    if record.get("max_answer_tokens") is not None:
        parts += ["--max_answer_tokens", str(record["max_answer_tokens"])]
    if record.get("temperature", 1.0) != 1.0:
        parts += ["--temperature", f"{record['temperature']:g}"]
    return shlex.join(parts) + ' "..."'


def interval(record: dict, name: str, scale: float, spec: str = ".1f") -> str:
    """The interval of a measure in brackets behind a space, empty when it is unknown."""
    low, high = record.get(f"{name}_low"), record.get(f"{name}_high")
    return "" if low is None or high is None else f" [{scale * low:{spec}}, {scale * high:{spec}}]"
