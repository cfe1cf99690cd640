"""The tables of a report: all records with their measures, and how each budget was kept."""

from timecost.evaluation import figures
from timecost.evaluation.choice import setting_name
from timecost.evaluation.results import key_of
from timecost.evaluation.viewer import visible

HELP = {
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


def records_table(records: list[dict]) -> dict:
    """The table of all records: {"columns": [(name, help)], "rows": [{"cells": [(text, detail, sort value)]}]}.

    A column that no record has a value for is left out.
    """
    names = figures.short_names(record["model"] for record in records)
    rows = [cells_of(record, names, colour) for record, colour in zip(records, colour_names(records), strict=True)]
    used = [name for name in HELP if any(row["cells"].get(name) is not None for row in rows)]
    several = len({record["task"] for record in records}) > 1
    ways = {record.get("enforce", "none") for record in records if figures.is_bounded(record)}
    left_out = {"task": not several, "budget": not has_budgets(records), "enforce": len(ways) < 2}
    used = [name for name in used if not left_out.get(name)]
    empty = ("", "", "")
    return {
        "columns": [(name, HELP[name]) for name in used],
        "rows": [
            {"name": row["name"], "colour": row["colour"], "cells": [row["cells"].get(name) or empty for name in used]}
            for row in rows
        ],
    }


def cells_of(record: dict, names: dict[str, str], colour: str) -> dict:
    """A record's row: column -> (text, detail, value to sort by), None where it is unknown."""
    most = max(record["pass_at_k"], key=int, default=None)
    bounded, itself = figures.is_bounded(record), record["reference"] == record["model"] and not has_budgets([record])

    def number(name, spec, scale=1.0, unit="", key_spec=None):
        value = record.get(name)
        if value is None:
            return None
        return f"{scale * value:{spec}}{unit}", ends(record, name, scale, key_spec or spec), value

    def compared(name, spec, scale=1.0):
        return ("reference", "", 0.0) if itself else number(name, spec, scale)

    cells = {
        "task": (visible(record["task"]), "", record["task"]),
        "budget": (visible(key_of(record)[2]), "", figures.budget_order(record)),
        "enforce": (record.get("enforce", "none"), "", record.get("enforce", "none")) if bounded else None,
        "accuracy": number("accuracy", ".1f", 100),
        "tokens": number("tokens_mean", ".1f"),
        "thinking": number("thinking_tokens_mean", ".1f"),
        "answer": number("answer_tokens_mean", ".1f"),
        "median": number("tokens_p50", ".0f"),
        "95th": number("tokens_p95", ".0f"),
        "seconds": number("seconds_mean", ".3g"),
        "cut off": number("truncation_rate", ".1f", 100),
        "verifier errors": number("verifier_error_rate", ".1f", 100),
    }
    if most is not None and int(most) > 1:
        share = record["pass_at_k"][most]
        cells["pass@k"] = (text(share, ".1f", 100), f"k = {most}", share)
    if record["reference"] is not None:
        cells |= {
            "tokens ratio": compared("tokens_ratio", ".2f"),
            "points": compared("accuracy_difference", "+.1f", 100),
            "speed-up": compared("speedup_bits", "+.2f"),
            "slope": compared("allocation_slope", "+.3f"),
        }
    return {"name": visible(names[record["model"]]), "colour": colour, "cells": cells}


def adherence_table(records: list[dict], sweeps: list[dict]) -> dict | None:
    """Columns and rows of how budgets were kept; None without budgets. Sweeps add what needs the unbounded samples."""
    bounded = [record for record in records if figures.is_bounded(record)]
    if not bounded:
        return None
    names = figures.short_names(r["model"] for r in records)
    points = {
        (sweep["model"], sweep["enforce"], point["budget"]): point for sweep in sweeps for point in sweep["points"]
    }
    columns = [("model and budget", None), ("thinking used", "mean tokens"), ("over the budget", "share of samples")]
    held = any(record.get("enforce", "none") != "none" for record in bounded)
    columns += [("closed at the bound", "share of samples")] if held else []
    more = [("adherence_error", "away from the budget", "share of it, where the model would think longer", 100, " %"),
            ("overshoot_p95", "overshoot", "95th percentile, share of the budget", 100, " %"),
            ("escape_rate", "long answers", "longer than 95 % of those without a bound", 100, " %")]  # fmt: skip
    more = [m for m in more if any(point.get(m[0]) is not None for point in points.values())]
    rows = []
    for record in bounded:
        point = points.get((record["model"], record.get("enforce", "none"), key_of(record)[2]), {})
        cells = [f"{record['thinking_tokens_mean']:.1f}", percent(record["overshoot_rate"])]
        if held:
            closed = (record.get("stop_causes") or {}).get("budget", 0.0)
            cells.append("" if record.get("enforce", "none") == "none" else percent(closed))
        cells += [
            "" if point.get(key) is None else f"{scale * point[key]:.1f}{unit}" for key, _, _, scale, unit in more
        ]
        rows.append([setting_name(record, names, True), *cells])
    return {"columns": columns + [(title, detail) for _, title, detail, _, _ in more], "rows": rows}


def has_budgets(records: list[dict]) -> bool:
    return any(record["budget"] != "inf" for record in records)


def colour_names(records: list[dict]) -> list[str]:
    """The CSS variable of each record's model."""
    variables = {figures.INK: "ink", **{colour: f"c{i}" for i, colour in enumerate(figures.COLOURS)}}
    colours = figures.model_colours(records)
    return [variables[colours[record["model"]]] for record in records]


def text(value: float | None, spec: str, scale: float = 1) -> str:
    return "unknown" if value is None else f"{scale * value:{spec}}"


def percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f} %"


def ends(record: dict, name: str, scale: float = 100, spec: str = ".1f") -> str:
    """The interval of a measure in brackets, empty when it is unknown."""
    low, high = record.get(f"{name}_low"), record.get(f"{name}_high")
    return "" if low is None or high is None else f"[{scale * low:{spec}}, {scale * high:{spec}}]"
