"""The tables of a report: all records with their measures, and how closely each kept to its budget."""

from timecost.evaluation import figures
from timecost.evaluation.choice import interval, setting_name
from timecost.evaluation.results import key_of

COLUMNS = {  # of the table of records: heading -> what stands below it
    "task": "",
    "budget": "thinking tokens asked for, or the price of the value head",
    "accuracy": "pass@1, %",
    "tokens": "mean per completion",
    "tokens ratio": "to the reference",
    "points": "of accuracy over the reference",
    "speed-up": "bits; 1 bit: half the time",
    "slope": "of the share saved, per difficulty",
    "thinking": "mean tokens",
    "answer": "mean tokens",
    "median": "tokens",
    "95th": "tokens; percentile",
    "pass@k": "some of k samples right, %",
    "enforce": "what happens at the bound",
    "seconds": "mean per completion",
    "cut off": "at the length limit, %",
    "verifier errors": "not judged, %",
}
OBEDIENCE = {  # measure of a point of a sweep, a share -> heading, what stands below it
    "adherence_error": ("away from the budget", "share of it, where the model would think longer"),
    "overshoot_p95": ("overshoot", "95th percentile, share of the budget"),
    "escape_rate": ("long answers", "longer than 95 % of those without a bound"),
}


def records_table(records: list[dict]) -> dict:
    """All records: {"columns": [(heading, detail)], "rows": [{"name", "colour", "cells"}]}, cells as in `cells_of`.

    A column that no record has a value for, or that is the same for all, is left out.
    """
    names = figures.short_names(record["model"] for record in records)
    cells = [cells_of(record) for record in records]
    ways = {record.get("enforce", "none") for record in records if figures.is_bounded(record)}
    told = {
        "task": len({record["task"] for record in records}) > 1,
        "budget": has_budgets(records),
        "enforce": len(ways) > 1,
    }
    used = [name for name in COLUMNS if told.get(name, True) and any(row.get(name) for row in cells)]
    return {
        "columns": [(name, COLUMNS[name]) for name in used],
        "rows": [
            {
                "name": names[record["model"]],
                "colour": colour,
                "cells": [row.get(name) or ("", "", "") for name in used],
            }
            for record, colour, row in zip(records, colour_names(records), cells, strict=True)
        ],
    }


def cells_of(record: dict) -> dict:
    """A record's row: heading -> (text, detail, value to sort by), None where it is unknown."""
    itself = record["reference"] == record["model"] and not has_budgets([record])
    way, k = record.get("enforce", "none"), max(record["pass_at_k"], key=int, default="1")

    def number(name, spec, scale=1):
        value = record.get(name)
        if value is None:
            return None
        return f"{scale * value:{spec}}", interval(record, name, scale, spec).strip(), value

    def compared(name, spec, scale=1):
        return ("reference", "", record[name]) if itself else number(name, spec, scale)

    some = None if k == "1" else record["pass_at_k"][k]
    return {
        "task": (record["task"], "", record["task"]),
        "budget": (key_of(record)[2], "", figures.budget_order(record)),
        "enforce": (way, "", way) if figures.is_bounded(record) else None,
        "accuracy": number("accuracy", ".1f", 100),
        "tokens": number("tokens_mean", ".1f"),
        "thinking": number("thinking_tokens_mean", ".1f"),
        "answer": number("answer_tokens_mean", ".1f"),
        "median": number("tokens_p50", ".0f"),
        "95th": number("tokens_p95", ".0f"),
        "pass@k": None if some is None else (f"{100 * some:.1f}", f"k = {k}", some),
        "seconds": number("seconds_mean", ".3g"),
        "cut off": number("truncation_rate", ".1f", 100),
        "verifier errors": number("verifier_error_rate", ".1f", 100),
        "tokens ratio": compared("tokens_ratio", ".2f"),
        "points": compared("accuracy_difference", "+.1f", 100),
        "speed-up": compared("speedup_bits", "+.2f"),
        "slope": compared("allocation_slope", "+.3f"),
    }


def adherence_table(records: list[dict], sweeps: list[dict]) -> dict | None:
    """How the budgets of one task were kept, {"columns": [(heading, detail)], "rows": [cells]}; None without budgets.

    The columns of OBEDIENCE are those that some record has a value for: they need samples without a bound.
    """
    bounded = [record for record in records if figures.is_bounded(record)]
    if not bounded:
        return None
    names = figures.short_names(record["model"] for record in records)
    columns = [
        ("model and budget", None, [setting_name(record, names, True) for record in bounded]),
        ("thinking used", "mean tokens", [f"{record['thinking_tokens_mean']:.1f}" for record in bounded]),
        ("over the budget", "share of samples", [percent(record["overshoot_rate"]) for record in bounded]),
    ]
    if any(record.get("enforce", "none") != "none" for record in bounded):
        columns.append(("closed at the bound", "share of samples", [closed_share(record) for record in bounded]))
    at = {(s["model"], s["task"], point["budget"], s["enforce"]): point for s in sweeps for point in s["points"]}
    points = [at.get(key_of(record), {}) for record in bounded]
    for measure, (title, detail) in OBEDIENCE.items():
        values = [point.get(measure) for point in points]
        if values != [None] * len(values):
            columns.append((title, detail, ["" if value is None else percent(value) for value in values]))
    rows = zip(*(cells for *_, cells in columns), strict=True)
    return {"columns": [(title, detail) for title, detail, _ in columns], "rows": list(rows)}


def closed_share(record: dict) -> str:
    """How often the bound had to close the thinking; empty where nothing is enforced."""
    if record.get("enforce", "none") == "none":
        return ""
    causes = record.get("stop_causes")
    return percent(causes.get("budget", 0.0) if causes else None)


def has_budgets(records: list[dict]) -> bool:
    return any(record["budget"] != "inf" for record in records)


def colour_names(records: list[dict]) -> list[str]:
    """The CSS variable of each record's model."""
    variables = {figures.INK: "ink", **{colour: f"c{i}" for i, colour in enumerate(figures.COLOURS)}}
    colours = figures.model_colours(records)
    return [variables[colours[record["model"]]] for record in records]


def percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f} %"
