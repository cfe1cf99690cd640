"""`timecost report`: one self-contained HTML page from folders of results, and its figures as files.

    timecost report results/                      # reads results.json and samples.jsonl, writes results/report.html
    timecost report results/ --figures            # also results/figures/*.png and *.svg
    timecost report runs/a runs/b --output_path both.html
    timecost report results/ --probe 20           # first measures what each step was worth; takes the models
    timecost report results/ --model_card outputs/levin     # its results into the card of a model, too

The page needs no network: style, script, figures and a part of the samples stand in it, and its content security policy
forbids everything else. Samples and value.json may be missing; what they would show is left out.
"""

import base64
import hashlib
from pathlib import Path

from timecost.errors import UserError
from timecost.evaluation import figures
from timecost.evaluation.choice import choices, setting_name
from timecost.evaluation.results import SAMPLES, key_of, make_folder, read_results, read_samples, write_text
from timecost.evaluation.value_data import read_value
from timecost.evaluation.viewer import as_script, page_data, visible
from timecost.model_card import purpose_in, update_card

MAX_RECORDS = 400  # on one page
DEFAULT_LIMIT = 32  # tokens that the recommendation opens with, where the data reach so far


def write_report(
    folder: str | Path | list,
    base: str | None = None,
    output_path: str | Path | None = None,
    save_figures: bool = False,
) -> Path:
    """Write a page on one folder of results or several and return its path, `report.html` in the (first) folder.

    `base` is the label of the model whose styles of thinking stand behind the frontier (default: the one called base).
    `save_figures` writes each figure to the folder `figures` beside the page. Raises UserError when a folder holds no
    results or broken ones.
    """
    from jinja2 import Environment

    folders = [Path(one) for one in (folder if isinstance(folder, list) else [folder])]
    path = folders[0] / "report.html" if output_path is None else Path(output_path)
    found = read_folders(folders)
    base = base or figures.find_base(found["records"])
    drawn: dict[str, object] = {}
    try:
        context = page(found, base, drawn)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, UserError):
            raise
        lacks = f"lacks {error}" if isinstance(error, KeyError) else f"holds something unexpected ({error})"
        where = ", ".join(f"'{one}'" for one in folders)
        raise UserError(f"a record or a sample in {where} {lacks}: evaluate again with this version") from error
    here = Path(__file__)
    script = here.with_name("report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(here.with_name("report.html.jinja").read_text(encoding="utf-8"))
        .render(**context, script=script, digest=digest, css=here.with_name("report.css").read_text(encoding="utf-8"))
    )
    make_folder(path.parent)
    write_text(path, text)
    if save_figures:
        out = make_folder(path.parent / "figures")
        for name, figure in drawn.items():
            figures.save(figure, out / f"{name}.png")
    return path


# What is there --------------------------------------------------------------------------------------------------------


def distinct_prefix(folder: Path, records: list[dict], seen: set[tuple]) -> str:
    """What goes before the models of a folder so that none has a name that was `seen`: as much of its path as it
    takes."""
    parts = folder.resolve().parts
    prefixes = ["".join(f"{part}/" for part in parts[len(parts) - depth :]) for depth in range(len(parts))]
    clashes = (
        any(key_of({**one, "model": prefix + str(one["model"])}) in seen for one in records) for prefix in prefixes
    )
    return next((prefix for prefix, clash in zip(prefixes, clashes, strict=True) if not clash), prefixes[-1])


def read_folders(folders: list[Path]) -> dict:
    """Records, sweeps, samples, heads and provenance of folders of results. A model that several of them hold is named
    after its folder there. Raises UserError for what is missing or broken."""
    from timecost import __version__

    found = {"records": [], "sweeps": [], "samples": [], "probed": [], "heads": [], "provenance": [], "notes": []}
    seen: set[tuple] = set()
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a folder is named twice: name each folder once")
    for folder in folders:
        results, value = read_results(folder), read_value(folder)
        samples = read_samples(folder) if (folder / SAMPLES).is_file() else []
        if not samples:
            found["notes"].append(f"{folder} holds no {SAMPLES}: its samples and paired comparisons are left out.")
        prefix = distinct_prefix(folder, results["records"], seen)
        for rows, name in (
            (results["records"], "records"), (results.get("sweeps") or [], "sweeps"), (value["heads"], "heads"),
            (samples, "samples"), (value["samples"], "probed"),
        ):  # fmt: skip
            for row in rows:
                row = {**row, "model": prefix + str(row["model"])}
                if row.get("reference"):
                    row["reference"] = prefix + row["reference"]
                found[name].append(row)
        seen |= {key_of(record) for record in found["records"]}
        origin = results.get("provenance")
        origin = origin if isinstance(origin, dict) else {}
        versions = origin.get("versions")
        written = versions.get("timecost") if isinstance(versions, dict) else None
        if written != __version__:
            found["notes"].append(
                f"{folder} was written by timecost {written or 'of an unknown version'}, this page by {__version__}: a "
                "measure may have been defined in another way."
            )
        found["provenance"].append({"folder": str(folder), "facts": flat(origin)})
    if len(found["records"]) > MAX_RECORDS:
        raise UserError(
            f"{len(found['records'])} records are too many for one page (at most {MAX_RECORDS}): fewer folders"
        )
    return found


def page(found: dict, base: str | None, drawn: dict) -> dict:
    """What the template shows; the figures are put into `drawn` by name."""
    from timecost import __version__

    order = list(dict.fromkeys(record["model"] for record in figures.base_first(found["records"])))
    records = sorted(
        found["records"], key=lambda r: (order.index(r["model"]), r.get("enforce", "none"), figures.budget_order(r))
    )
    tasks = []
    for number, name in enumerate(dict.fromkeys(record["task"] for record in records)):
        here = [record for record in records if record["task"] == name]
        rows = [row for row in found["samples"] if row["task"] == name]
        sweeps = [sweep for sweep in found["sweeps"] if sweep["task"] == name]
        heads = [head for head in found["heads"] if head["task"] == name]
        tasks.append({"id": f"t{number}", **task_section(name, here, rows, base, sweeps, heads, f"t{number}", drawn)})
    tables = records_table(records)
    names = [
        setting_name(record, figures.short_names(r["model"] for r in records), has_budgets(records))
        for record in records
    ]
    data = page_data(records, found["samples"], names, colour_names(records), found["probed"])
    seeds = sorted({str(record["seed"]) for record in records if "seed" in record})
    return {
        "tasks": tasks, "about": models_list(records), "table": tables,
        "data": as_script(data) if data["samples"] else None, "shown": data["shown"],
        "total": data["total"], "num_problems": data["num_problems"], "problems_shown": len(data["problems"]),
        "budgets": has_budgets(records), "steps": any(sample[-2] for sample in data["samples"]),
        "memory": any(sample[-1] for sample in data["samples"]),
        "provenance": found["provenance"], "notes": [visible(note) for note in found["notes"]],
        "seeds": ", ".join(seeds), "version": __version__, "models": len({record["model"] for record in records}),
    }  # fmt: skip


def models_list(records: list[dict]) -> list[tuple[str, str, str]]:
    """(name, what its card says it is for, path) of each model of which one of the two is known."""
    from timecost.tasks import MODELS

    names = figures.short_names(record["model"] for record in records)
    paths = {r["model"]: str(r["model_name_or_path"]) for r in records if r.get("model_name_or_path")}
    known = "A small model of the arithmetic task that comes with timecost, before any reinforcement learning."
    return [
        (visible(names[model]), visible(known if path in MODELS else purpose_in(path) or ""), visible(path))
        for model, path in paths.items()
    ]


def has_budgets(records: list[dict]) -> bool:
    return any(record["budget"] != "inf" for record in records)


def colour_names(records: list[dict]) -> list[str]:
    """The CSS variable of each record's model."""
    variables = {figures.INK: "ink", **{colour: f"c{i}" for i, colour in enumerate(figures.COLOURS)}}
    colours = figures.model_colours(records)
    return [variables[colours[record["model"]]] for record in records]


# A task ---------------------------------------------------------------------------------------------------------------


def task_section(
    task: str, records: list[dict], samples: list[dict], base: str | None, sweeps: list[dict], heads: list[dict],
    prefix: str, drawn: dict,
) -> dict:  # fmt: skip
    """What the template shows of one task."""
    names = figures.short_names(record["model"] for record in records)
    plain = figures.one_per_model(records)
    options = choices(records, samples)
    first = records[0]
    reference = next((record["reference"] for record in plain if record["reference"]), None)
    note = (
        f"{first['num_problems']} problems of split {first['split']}, {first['num_samples']} samples each, temperature "
        f"{first['temperature']:g}. Time is counted in tokens, those of the thinking and of the answer together. In "
        "brackets are 95 % intervals: what other problems of the kind would change, not what other training runs would."
    )
    if reference is not None:
        note += (
            f" Compared with {names.get(reference, reference)} on the same problems. Speed-up: how much sooner whoever "
            "samples until an answer is verified has one; 1 bit is half the time."
        )
    for record in plain:
        if record["savant"]:
            note += f" {names[record['model']]} became more accurate and not faster: it bought accuracy with time."
    shown = [
        as_figure(name, alt, draw, f"{prefix}-{name}", f"{safe(task)}_{name}", drawn)
        for name, alt, draw in draw_list(records, base, samples)
    ]
    return {
        "name": visible(task),
        "headline": headline(task, plain),
        "note": note,
        "choices": options,
        "limit": opening_limit(options),
        "figures": shown,
        "adherence": adherence_table(records, sweeps),
        "heads": [head_section(head, names, f"{prefix}-h{i}", safe(task), drawn) for i, head in enumerate(heads)],
    }


def opening_limit(options: list[dict]) -> int | None:
    """Tokens that the recommendation opens with."""
    if not options:
        return None
    least, most = options[0]["limit"], options[-1]["limit"]
    return DEFAULT_LIMIT if least <= DEFAULT_LIMIT <= 1.5 * most else round(most)


def draw_list(records: list[dict], base: str | None, samples: list[dict]) -> list[tuple]:
    """(name, text for those who cannot see it, function of a width) of the figures that the data allow."""
    names = figures.short_names(r["model"] for r in records)
    points = "; ".join(
        f"{setting_name(r, names, has_budgets(records))}: {percent(r['accuracy'])} right with "
        f"{r['tokens_mean']:.1f} tokens"
        for r in records
    )
    out = [("frontier", f"Accuracy against mean tokens. {points}", lambda w: figures.frontier(records, base, w))]
    if any(map(figures.is_bounded, records)):
        used = "; ".join(
            f"{setting_name(r, names, True)}: {r['thinking_tokens_mean']:.1f}" for r in records if figures.is_bounded(r)
        )
        spreads = thinking_spread(records, samples)
        alt = f"Mean thinking tokens used against the budget asked for. {used}"
        out.append(("adherence", alt, lambda w: figures.adherence(records, spreads, w)))
    graded = [record for record in figures.one_per_model(records) if len(record["by_difficulty"]) > 1]
    if graded:
        alt = "Mean tokens at each difficulty, one line per model"
        out.append(("tokens_by_difficulty", alt, lambda w: figures.tokens_by_difficulty(graded, w)))
    if any(record["styles"] for record in graded):
        alt = "Share of each style of thinking at each difficulty, per model"
        out.append(("style_shares", alt, lambda w: figures.style_shares(graded, w)))
    return out


def as_figure(name: str, alt: str, draw, prefix: str, file_name: str, drawn: dict) -> dict:
    """A figure in two widths as inline SVG; the wide one is kept in `drawn`."""
    drawn[file_name] = wide = draw(figures.WIDE)
    return {
        "name": name,
        "wide": figures.inline_svg(wide, f"{prefix}-w", visible(alt)),
        "narrow": figures.inline_svg(draw(figures.NARROW), f"{prefix}-n", visible(alt)),
    }


def safe(name: str) -> str:
    """A name that may be part of a file's."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:60] or "task"


def thinking_spread(records: list[dict], samples: list[dict]) -> dict[tuple, tuple[float, float]]:
    """5th and 95th percentile of thinking tokens of each record that has samples."""
    import numpy as np

    used: dict[tuple, list[int]] = {}
    for row in samples:
        used.setdefault(key_of(row), []).append(row["thinking_tokens"])
    keys = [key_of(record) for record in records if key_of(record) in used]
    return {key: tuple(np.percentile(used[key], [5, 95])) for key in keys}


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
            f"Its forecast is off by {100 * error:.1f} points on average{ends(head, 'calibration_error')}."
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
        "name": visible(name), "sentences": sentences,
        "figures": [
            as_figure(kind, alt, draw, f"{prefix}-{kind}", f"{task}_{safe(name)}_{kind}", drawn)
            for kind, alt, draw in shown
        ],
    }  # fmt: skip


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
            f"{setting_name(r, names, figures.is_bounded(r))} has {percent(r['accuracy'])} right with "
            f"{r['tokens_mean']:.1f} tokens"
            for r in (records if len(records) <= len(most) else most)
        ]
        more = f"; the other {len(records) - len(most)} are no more accurate" if len(records) > len(most) else ""
        return visible(f"On {task}, {'; '.join(parts)}{more}.")
    best = max(compared, key=lambda r: r["speedup_bits"])
    model, reference = names[best["model"]], names.get(best["reference"], best["reference"])
    ratio, points, bits = best["tokens_ratio"], 100 * best["accuracy_difference"], best["speedup_bits"]
    more, sooner = "more" if points >= 0 else "less", "sooner" if bits >= 0 else "later"
    return visible(
        f"On {task}, \u201c{model}\u201d needs {ratio:.2f} {ends(best, 'tokens_ratio', 1, '.2f')} of the tokens of "
        f"\u201c{reference}\u201d, is {abs(points):.1f} points {more} accurate "
        f"(difference {ends(best, 'accuracy_difference', 100, '+.1f')}), and reaches a verified answer "
        f"{2 ** abs(bits):.2f} times {sooner}: a speed-up of {bits:+.2f} bits {ends(best, 'speedup_bits', 1, '+.2f')}."
    )


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


def flat(tree: dict, prefix: str = "") -> list[tuple[str, object]]:
    """A nested mapping as (name, value) pairs, without empty values."""
    out = []
    for name, value in tree.items():
        if isinstance(value, dict):
            out += flat(value, "" if name in ("versions", "machine") else f"{name} ")
        elif value is not None:
            out.append((prefix + name, value))
    return out


def text(value: float | None, spec: str, scale: float = 1) -> str:
    return "unknown" if value is None else f"{scale * value:{spec}}"


def percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f} %"


def ends(record: dict, name: str, scale: float = 100, spec: str = ".1f") -> str:
    """The interval of a measure in brackets, empty when it is unknown."""
    low, high = record.get(f"{name}_low"), record.get(f"{name}_high")
    return "" if low is None or high is None else f"[{scale * low:{spec}}, {scale * high:{spec}}]"


def run(argv: list[str]) -> None:
    """The command `timecost report`."""
    args = build_parser().parse_args(argv)
    if args.probe is not None:
        from timecost.evaluation.probe import probe_folder

        if args.probe < 1:
            raise UserError(f"--probe is a number of problems, at least 1, not {args.probe}")
        for folder in args.folder:
            probe_folder(folder, args.probe)
    print(write_report(args.folder, args.base, args.output_path, args.figures))
    if args.model_card:
        records = [record for folder in args.folder for record in read_results(folder)["records"]]
        here = [
            r for r in records if Path(r.get("model_name_or_path", "")).resolve() == Path(args.model_card).resolve()
        ]
        print(update_card(args.model_card, sorted(here, key=lambda r: (r["task"], figures.budget_order(r)))))


def build_parser():
    from timecost.options import Parser

    parser = Parser("timecost report", description="Write one self-contained HTML page from folders of results.")
    parser.add_argument("folder", nargs="+", help="folder with results.json and samples.jsonl; several make one page")
    parser.add_argument("--output_path", help="the page to write (default: report.html in the first folder)")
    parser.add_argument("--figures", action="store_true", help="write each figure as PNG and SVG beside the page")
    parser.add_argument(
        "--probe", type=int, metavar="N", help="first measure what each step was worth, on N problems of each task"
    )
    parser.add_argument("--model_card", metavar="MODEL", help="folder of a model whose card gets its results, too")
    parser.add_argument("--base", help="label of the model whose styles stand behind the frontier (default: base)")
    return parser
