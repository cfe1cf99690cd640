"""`timecost report`: one self-contained HTML page from a folder of results.

    timecost report results/        # reads results.json and samples.jsonl, writes results/report.html

The page needs no network and no script: the figures are inlined as SVG.
"""

import base64
from pathlib import Path

from timecost.errors import UserError
from timecost.evaluation import figures
from timecost.evaluation.results import key_of, read_results, read_samples, write_text

MAX_SHOWN = 4000  # characters of a prompt or completion on the page


def write_report(folder: str | Path, base: str | None = None) -> Path:
    """Write `report.html` into a folder of results and return its path. Raises UserError when it holds none.

    `base` is the label of the model whose styles of thinking stand behind the frontier (default: the one called base).
    """
    from jinja2 import Environment

    folder = Path(folder)
    results = read_results(folder)
    samples = read_samples(folder)
    template = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    tasks = []
    try:
        for name in dict.fromkeys(record["task"] for record in results["records"]):
            records = figures.base_first([record for record in results["records"] if record["task"] == name])
            tasks.append(task_section(name, records, [row for row in samples if row["task"] == name], base))
    except KeyError as error:
        raise UserError(
            f"a record or a sample in '{folder}' lacks {error}: evaluate again with this version"
        ) from error
    page = (
        Environment(autoescape=True)
        .from_string(template)
        .render(tasks=tasks, provenance=flat(results.get("provenance", {})))
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def task_section(task: str, records: list[dict], samples: list[dict], base: str | None = None) -> dict:
    """What the template shows of one task."""
    names = figures.short_names(record["model"] for record in records)
    colours = figures.model_colours(records)
    reference = next((record["reference"] for record in records if record["reference"]), None)
    first = records[0]
    note = (
        f"{first['num_problems']} problems of split {first['split']}, {first['num_samples']} samples each, temperature "
        f"{first['temperature']:g}; in brackets 95 % intervals, by resampling problems."
    )
    if reference is not None:
        note += (
            f" Compared with {names.get(reference, reference)} on the same problems. Speed-up: how much sooner "
            "sampling until an answer is verified ends, in bits (1 bit: half the time). Slope: the share of tokens "
            "saved, per unit of difficulty; negative when the saving is on easy problems."
        )
    for record in records:
        if record["savant"]:
            note += f" {names[record['model']]} became more accurate and not faster: it bought accuracy with time."
    return {
        "name": task,
        "headline": headline(task, records),
        "columns": ["model", *(name for name, _ in columns(records[0], reference, names))],
        "rows": [
            {
                "name": names[record["model"]],
                "colour": colours[record["model"]],
                "cells": [cell for _, cell in columns(record, reference, names)],
            }
            for record in records
        ],
        "note": note,
        "figures": draw(records, base),
        "examples": examples(records, samples),
    }


def headline(task: str, records: list[dict]) -> str:
    """One sentence: the model with the largest speed-up against the reference, or how each model does."""
    names = figures.short_names(record["model"] for record in records)
    base = figures.find_base(records)
    measured = ("speedup_bits", "accuracy_difference", "tokens_ratio")
    compared = [r for r in records if r["reference"] != r["model"] and all(r[name] is not None for name in measured)]
    compared = [r for r in compared if r["model"] != base] or compared
    if not compared:
        parts = [
            f"{names[r['model']]} has {percent(r['accuracy'])} right with {r['tokens_mean']:.1f} tokens"
            for r in records
        ]
        return f"On {task}, {'; '.join(parts)}."
    best = max(compared, key=lambda r: r["speedup_bits"])
    model, reference = names[best["model"]], names.get(best["reference"], best["reference"])
    ratio, points, bits = best["tokens_ratio"], 100 * best["accuracy_difference"], best["speedup_bits"]
    more, sooner = "more" if points >= 0 else "less", "sooner" if bits >= 0 else "later"
    return (
        f"On {task}, \u201c{model}\u201d needs {ratio:.2f} {ends(best, 'tokens_ratio', 1, '.2f')} of the tokens of "
        f"\u201c{reference}\u201d, is {abs(points):.1f} points {more} accurate "
        f"{ends(best, 'accuracy_difference', 100, '+.1f')}, and reaches a verified answer {2 ** abs(bits):.2f} times "
        f"{sooner}: a speed-up of {bits:+.2f} bits {ends(best, 'speedup_bits', 1, '+.2f')}."
    )


def columns(record: dict, reference: str | None, names: dict[str, str]) -> list[tuple[str, tuple[str, str]]]:
    """The table's columns and a record's cells: (name, (value, detail))."""
    most = max(record["pass_at_k"], key=int, default=None)
    out = [
        ("accuracy", (percent(record["accuracy"]), ends(record, "accuracy", 100, ".1f"))),
        ("tokens", (text(record["tokens_mean"], ".1f"), ends(record, "tokens_mean", 1, ".1f"))),
        (
            "thinking + answer",
            (f"{record['thinking_tokens_mean']:.1f} + {record['answer_tokens_mean']:.1f}", ""),
        ),
        ("median, 95th", (f"{record['tokens_p50']:.0f}, {record['tokens_p95']:.0f}", "")),
    ]
    if most is not None and int(most) > 1:
        out.append((f"pass@{most}", (percent(record["pass_at_k"][most]), "")))
    if reference is not None:
        name = names.get(reference, reference)
        itself = record["model"] == reference
        compared = [
            (f"tokens / {name}", (text(record["tokens_ratio"], ".2f"), ends(record, "tokens_ratio", 1, ".2f"))),
            (
                f"points over {name}",
                (text(record["accuracy_difference"], "+.1f", 100), ends(record, "accuracy_difference", 100, "+.1f")),
            ),
            ("speed-up, bits", (text(record["speedup_bits"], "+.2f"), ends(record, "speedup_bits", 1, "+.2f"))),
            ("slope", (text(record["allocation_slope"], "+.3f"), ends(record, "allocation_slope", 1, "+.3f"))),
        ]
        out += [(column, ("reference", "")) if itself else (column, cell) for column, cell in compared]
    out.append(("cut off", (percent(record["truncation_rate"]), "")))
    out.append(("verifier errors", (percent(record["verifier_error_rate"]), "")))
    return out


def draw(records: list[dict], base: str | None) -> list[dict]:
    """The figures that the records have the data for, as data URIs with a text for those who cannot see them."""
    names = figures.short_names(r["model"] for r in records)
    points = "; ".join(
        f"{names[r['model']]} {percent(r['accuracy'])} with {r['tokens_mean']:.1f} tokens" for r in records
    )
    drawn = [("Accuracy against mean tokens: " + points, figures.frontier(records, base))]
    graded = [record for record in records if len(record["by_difficulty"]) > 1]
    if graded:
        drawn.append(("Mean tokens at each difficulty, one line per model", figures.tokens_by_difficulty(graded)))
    if any(record["styles"] for record in graded):
        drawn.append(("Share of each style of thinking at each difficulty, per model", figures.style_shares(graded)))
    return [{"alt": alt, "uri": data_uri(figures.svg(figure))} for alt, figure in drawn]


def data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def examples(records: list[dict], samples: list[dict], num_examples: int = 3) -> list[dict]:
    """Problems that all models have, spread over the difficulties, with the first sample of each model."""
    from timecost.evaluation.records import problem_key

    names = figures.short_names(record["model"] for record in records)
    colours = figures.model_colours(records)
    first: dict[str, dict[str, dict]] = {}  # problem -> model -> sample
    keys = {key_of(record) for record in records}
    for row in samples:
        if key_of(row) in keys:
            first.setdefault(problem_key(row), {}).setdefault(row["model"], row)
    shared = [rows for rows in first.values() if len(rows) == len(names)]
    shared.sort(key=lambda rows: next(iter(rows.values()))["difficulty"] or 0)
    picked = [shared[i * (len(shared) - 1) // max(1, num_examples - 1)] for i in range(min(num_examples, len(shared)))]
    out = []
    for rows in picked:
        one = next(iter(rows.values()))
        prompt = one["prompt"] if isinstance(one["prompt"], str) else one["prompt"][-1]["content"]
        out.append({
            "prompt": shorten(prompt), "answer": one["answer"], "difficulty": one["difficulty"],
            "samples": [
                {
                    "name": names[model], "colour": colours[model], "status": rows[model]["status"],
                    "tokens": rows[model]["thinking_tokens"] + rows[model]["answer_tokens"],
                    "completion": shorten(rows[model]["completion"]),
                }
                for model in names
            ],
        })  # fmt: skip
    return out


def shorten(written: str) -> str:
    half = MAX_SHOWN // 2
    return written if len(written) <= MAX_SHOWN else f"{written[:half]}\n[...]\n{written[-half:]}"


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


def ends(record: dict, name: str, scale: float, spec: str) -> str:
    """The interval of a measure in brackets, empty when it is unknown."""
    low, high = record[f"{name}_low"], record[f"{name}_high"]
    return "" if low is None else f"[{scale * low:{spec}}, {scale * high:{spec}}]"


def run(argv: list[str]) -> None:
    """The command `timecost report`."""
    from timecost.options import Parser

    parser = Parser("timecost report", description="Write one self-contained HTML page from a folder of results.")
    parser.add_argument("folder", help="folder with results.json and samples.jsonl")
    parser.add_argument("--base", help="label of the model whose styles stand behind the frontier (default: base)")
    args = parser.parse_args(argv)
    print(write_report(args.folder, args.base))
