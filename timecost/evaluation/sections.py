"""What the page of a report says: its sections, as data for report.html.jinja."""

import math
from collections.abc import Iterable

from timecost.evaluation import figures
from timecost.evaluation.choice import choices, interval, setting_name
from timecost.evaluation.results import key_of
from timecost.evaluation.tables import adherence_table, colour_names, has_budgets, percent, records_table
from timecost.evaluation.viewer import as_script, page_data, visible
from timecost.model_card import purpose_in

DEFAULT_LIMIT = 32  # tokens that the recommendation opens with, where the data reach so far


def page(found: dict, base: str | None, drawn: dict) -> dict:
    """What the template shows of `found`, as `read_folders` gives it; the figures are put into `drawn` by name."""
    from timecost import __version__

    order = list(dict.fromkeys(record["model"] for record in figures.base_first(found["records"])))
    records = sorted(
        found["records"], key=lambda r: (order.index(r["model"]), r.get("enforce", "none"), figures.budget_order(r))
    )
    colours, budgets = figures.model_colours(records), has_budgets(records)
    tasks = []
    for number, task in enumerate(dict.fromkeys(record["task"] for record in records)):
        part = {name: [row for row in found[name] if row["task"] == task] for name in ("samples", "sweeps", "heads")}
        part["records"] = [record for record in records if record["task"] == task]
        tasks.append(task_section(task, part, base, colours, f"t{number}", drawn))
    names = figures.short_names(record["model"] for record in records)
    settings = [setting_name(record, names, budgets) for record in records]
    data = page_data(records, found["samples"], settings, colour_names(records), found["probed"])
    seeds = sorted({str(record["seed"]) for record in records if "seed" in record})
    return {
        "tasks": tasks, "about": models_list(records), "table": records_table(records),
        "data": as_script(data) if data["samples"] else None, "shown": data["shown"],
        "total": data["total"], "num_problems": data["num_problems"], "problems_shown": len(data["problems"]),
        "budgets": budgets, "steps": any(sample[-2] for sample in data["samples"]),
        "memory": any(sample[-1] for sample in data["samples"]),
        "provenance": found["provenance"], "notes": found["notes"],
        "seeds": ", ".join(seeds), "version": __version__, "models": len({record["model"] for record in records}),
    }  # fmt: skip


def models_list(records: list[dict]) -> list[tuple[str, str, str]]:
    """(name, what its card says it is for, path) of each model of which one of the two is known."""
    from timecost.tasks import MODELS

    names = figures.short_names(record["model"] for record in records)
    paths = {r["model"]: str(r["model_name_or_path"]) for r in records if r.get("model_name_or_path")}
    known = "A small model of the arithmetic task that comes with timecost, before any reinforcement learning."
    return [
        (names[model], known if path in MODELS else visible(purpose_in(path) or ""), path)
        for model, path in paths.items()
    ]


def task_section(task: str, part: dict, base: str | None, colours: dict[str, str], prefix: str, drawn: dict) -> dict:
    """What the template shows of one task: of its records, samples, sweeps and heads in `part`."""
    records = part["records"]
    names = figures.short_names(record["model"] for record in records)
    plain = figures.one_per_model(records)
    options = choices(records, part["samples"])
    note = (
        f"{either(r['num_problems'] for r in records)} problems of split {either(r['split'] for r in records)}, "
        f"{either(r['num_samples'] for r in records)} samples each, temperature "
        f"{either(format(r['temperature'], 'g') for r in records)}. Time is counted in tokens, those of the thinking "
        "and of the answer together. In brackets are 95 % intervals: what other problems of the kind would change, not "
        "what other training runs would."
    )
    references = [names.get(r["reference"], r["reference"]) for r in plain if r["reference"]]
    if references:
        note += (
            f" Compared with {either(references)} on the same problems. Speed-up: how much sooner whoever samples "
            "until an answer is verified has one; 1 bit is half the time."
        )
    for record in plain:
        if record["savant"]:
            note += f" {names[record['model']]} became more accurate and not faster: it bought accuracy with time."
    shown = [
        as_figure(name, alt, draw, f"{prefix}-{name}", f"{safe(task)}_{name}", drawn)
        for name, alt, draw in draw_list(records, base, part["samples"], colours)
    ]
    return {
        "id": prefix,
        "name": task,
        "headline": headline(task, plain),
        "note": note,
        "choices": options,
        "limit": opening_limit(options),
        "figures": shown,
        "adherence": adherence_table(records, part["sweeps"]),
        "heads": [
            head_section(head, names, f"{prefix}-h{i}", safe(task), drawn) for i, head in enumerate(part["heads"])
        ],
    }


def either(values: Iterable) -> str:
    """The values that differ, as words: `200`, `200 or 50`."""
    return " or ".join(dict.fromkeys(map(str, values)))


def opening_limit(options: list[dict]) -> int | None:
    """Tokens that the recommendation opens with."""
    if not options:
        return None
    least, most = options[0]["limit"], options[-1]["limit"]
    return DEFAULT_LIMIT if least <= DEFAULT_LIMIT <= 1.5 * most else math.ceil(most)


def headline(task: str, records: list[dict]) -> str:
    """One sentence: the model with the largest speed-up against the reference, or how each model does."""
    names = figures.short_names(record["model"] for record in records)
    base = figures.find_base(records)
    measured = ("speedup_bits", "accuracy_difference", "tokens_ratio")
    compared = [r for r in records if r["reference"] != r["model"] and all(r[name] is not None for name in measured)]
    compared = [r for r in compared if r["model"] != base] or compared
    if not compared:
        most = sorted(records, key=lambda r: -(r["accuracy"] or 0))[:4]
        parts = [
            f"{setting_name(r, names, has_budgets([r]))} has {percent(r['accuracy'])} right with "
            f"{r['tokens_mean']:.1f} tokens"
            for r in (records if len(records) <= len(most) else most)
        ]
        more = f"; no other of the {len(records)} is more accurate" if len(records) > len(most) else ""
        return f"On {task}, {'; '.join(parts)}{more}."
    best = max(compared, key=lambda r: r["speedup_bits"])
    model, reference = names[best["model"]], names.get(best["reference"], best["reference"])
    ratio, points, bits = best["tokens_ratio"], 100 * best["accuracy_difference"], best["speedup_bits"]
    more, sooner = "more" if points >= 0 else "less", "sooner" if bits >= 0 else "later"
    return (
        f"On {task}, \u201c{model}\u201d needs {ratio:.2f}{interval(best, 'tokens_ratio', 1, '.2f')} of the tokens of "
        f"\u201c{reference}\u201d, is {abs(points):.1f} points {more} accurate "
        f"(difference{interval(best, 'accuracy_difference', 100, '+.1f')}), and reaches a verified answer "
        f"{2 ** abs(bits):.2f} times {sooner}: a speed-up of {bits:+.2f} "
        f"bits{interval(best, 'speedup_bits', 1, '+.2f')}."
    )


def draw_list(records: list[dict], base: str | None, samples: list[dict], colours: dict[str, str]) -> list[tuple]:
    """(name, text for those who cannot see it, function of a width) of the figures that the data allow."""
    names = figures.short_names(r["model"] for r in records)
    points = "; ".join(
        f"{setting_name(r, names, has_budgets(records))}: {percent(r['accuracy'])} right with "
        f"{r['tokens_mean']:.1f} tokens"
        for r in records
    )
    out = [
        ("frontier", f"Accuracy against mean tokens. {points}", lambda w: figures.frontier(records, base, w, colours))
    ]
    if any(map(figures.is_bounded, records)):
        used = "; ".join(
            f"{setting_name(r, names, True)}: {r['thinking_tokens_mean']:.1f}" for r in records if figures.is_bounded(r)
        )
        spreads = thinking_spread(records, samples)
        alt = f"Mean thinking tokens used against the budget asked for. {used}"
        out.append(("adherence", alt, lambda w: figures.adherence(records, spreads, w, colours)))
    graded = [record for record in figures.one_per_model(records) if len(record["by_difficulty"]) > 1]
    if graded:
        alt = "Mean tokens at each difficulty, one line per model"
        out.append(("tokens_by_difficulty", alt, lambda w: figures.tokens_by_difficulty(graded, w, colours)))
    if any(record["styles"] for record in graded):
        alt = "Share of each style of thinking at each difficulty, per model"
        out.append(("style_shares", alt, lambda w: figures.style_shares(graded, w)))
    return out


def thinking_spread(records: list[dict], samples: list[dict]) -> dict[tuple, tuple[float, float]]:
    """5th and 95th percentile of thinking tokens of each record that has samples."""
    import numpy as np

    used: dict[tuple, list[int]] = {}
    for row in samples:
        used.setdefault(key_of(row), []).append(row["thinking_tokens"])
    keys = [key_of(record) for record in records if key_of(record) in used]
    return {key: tuple(np.percentile(used[key], [5, 95])) for key in keys}


def head_section(head: dict, names: dict[str, str], prefix: str, task: str, drawn: dict) -> dict:
    """Figures and sentences on a value head."""
    name = names.get(head["model"], head["model"])
    shown, sentences = [], []
    if curve := head.get("anytime"):
        alt = "Right answers when thinking is closed after so many tokens, measured and forecast"
        shown.append(("anytime", alt, lambda w: figures.anytime(curve, w)))
    if bins := head.get("reliability"):
        alt = "Share of right answers against the forecast of it"
        shown.append(("reliability", alt, lambda w: figures.reliability(bins, w)))
    if (error := head.get("calibration_error")) is not None:
        sentences.append(
            f"Its forecast is off by {100 * error:.1f} points on average{interval(head, 'calibration_error', 100)}."
        )
    if (kept := head.get("guarantee")) and kept["price"] is None:
        sentences.append("Calibration found no price that is safe: it does not stop unless told to (`--no_clip`).")
    elif kept:
        lost = f": {kept['num_harms']} of {kept['num_problems']} calibration problems lost a right answer"
        sentences.append(
            f"At a price of at most {kept['price']:g} per thinking token, stopping early costs at most "
            f"{100 * kept['loss']:g} points of accuracy with confidence {100 * (1 - kept['delta']):g} %"
            f"{'' if kept['num_harms'] is None else lost}."
        )
    return {
        "name": name, "sentences": sentences,
        "figures": [
            as_figure(kind, alt, draw, f"{prefix}-{kind}", f"{task}_{safe(name)}_{kind}", drawn)
            for kind, alt, draw in shown
        ],
    }  # fmt: skip


def as_figure(name: str, alt: str, draw, prefix: str, file_name: str, drawn: dict) -> dict:
    """A figure in two widths as inline SVG; the wide one is kept in `drawn`."""
    while file_name in drawn:  # of two names that are one as a file's
        file_name += "_2"
    drawn[file_name] = wide = draw(figures.WIDE)
    return {
        "name": name,
        "wide": figures.inline_svg(wide, f"{prefix}-w", alt),
        "narrow": figures.inline_svg(draw(figures.NARROW), f"{prefix}-n", alt),
    }


def safe(name: str) -> str:
    """A name that may be part of a file's."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:60] or "task"
