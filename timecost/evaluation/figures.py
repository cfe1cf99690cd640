"""Figures of a report, drawn with matplotlib from the records of one task.

Each function returns a `Figure`; `save` writes it as PNG and SVG, `svg` gives the SVG as text, `inline_svg` gives it
for a page whose colours change with its theme. Colours follow Okabe & Ito, which stay apart for colour-blind readers,
with the light ones darkened to a contrast of 3 on white; models differ by marker as well. `width` is in inches: WIDE
for paper and screens, NARROW for phones. `colours` maps models to colours, where they are to be those of other figures.
"""

import functools
import io
import re
from collections.abc import Callable, Iterable, Iterator
from html import escape
from itertools import cycle
from pathlib import Path

from timecost.evaluation.results import budget_order, key_of

BASE_LABELS = ("base", "arithmetic_base")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#BF6598", "#B67D00", "#3395D3")
MARKERS = ("o", "D", "s", "^", "v", "P", "X")  # one more than colours: the 42 pairs are all different
INK, GREY, LINE, PAPER = "#1f2328", "#6f7680", "#d9dce1", "#ffffff"
WIDE, NARROW = 6.4, 3.6
STYLE = {
    "figure.facecolor": PAPER, "axes.facecolor": PAPER, "savefig.facecolor": PAPER, "figure.dpi": 160,
    "font.size": 10, "font.family": "sans-serif", "text.color": INK,
    "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 10,
    "axes.labelcolor": INK, "axes.edgecolor": GREY, "axes.linewidth": 0.8, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": LINE, "grid.linewidth": 0.6,
    "xtick.color": INK, "ytick.color": INK, "xtick.major.size": 0, "ytick.major.size": 0,
    "legend.frameon": False, "lines.linewidth": 2.0, "svg.hashsalt": "timecost",
    "text.parse_math": False,  # a name may hold dollar signs
}  # fmt: skip
MAX_LABEL = 24  # characters of a model's name in a figure
MIN_CELL = 5  # samples of a style at a difficulty, below which its accuracy says too little


def in_our_style(function: Callable) -> Callable:
    """Run `function` under the settings of STYLE, and leave matplotlib's own as they were."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return function(*args, **kwargs)

    return wrapped


def find_base(records: list[dict]) -> str | None:
    """Label of the base model, whose styles stand behind the frontier: the one called so."""
    return next(
        (model for model, name in short_names(r["model"] for r in records).items() if name in BASE_LABELS), None
    )


def base_first(records: list[dict]) -> list[dict]:
    """The records with those of the base model in front, otherwise in their order."""
    base = find_base(records)
    return sorted(records, key=lambda record: record["model"] != base)


def short_names(models: Iterable[str]) -> dict[str, str]:
    """A short name for each label: its last path component where that tells the labels apart."""
    models = list(dict.fromkeys(models))
    names = {model: model.rstrip("/").rpartition("/")[2] for model in models}
    return names if len(set(names.values())) == len(models) else {model: model for model in models}


def labels_of(models: Iterable[str]) -> dict[str, str]:
    """Short names for a figure: long ones lose their middle, so that it has room for them, unless two become one."""
    names, half = short_names(models), MAX_LABEL // 2
    cut = {m: name if len(name) <= MAX_LABEL else f"{name[:half]}\u2026{name[-half:]}" for m, name in names.items()}
    names = cut if len(set(cut.values())) == len(names) else names
    # matplotlib leaves what begins with an underscore out of a legend
    return {model: f" {name}" if name.startswith("_") else name for model, name in names.items()}


def lines_of(records: list[dict]) -> list[dict]:
    """What is drawn as one line: the budgets of a model under one way to enforce them, by rising budget, or its prices.

    `{"model", "name", "records"}`. Nothing is enforced at budgets 0 and inf: they belong to every line of their model.
    A model without budgets is a line of one point.
    """
    names = labels_of(r["model"] for r in records)
    out = []
    for model in names:
        mine = sorted((r for r in records if r["model"] == model), key=budget_order)
        ways = list(dict.fromkeys(r.get("enforce", "none") for r in mine if r["budget"] not in ("0", "inf")))
        for way in ways or ["none"]:
            name = names[model] + (f", {way}" if len(ways) > 1 else "")
            here = [r for r in mine if r["budget"] in ("0", "inf") or r.get("enforce", "none") == way]
            out.append({"model": model, "name": name, "records": here})
    return out


def is_bounded(record: dict) -> bool:
    """Whether the record has a budget of thinking tokens, other than none at all."""
    return record["budget"] not in ("0", "inf", "auto")


def one_per_model(records: list[dict]) -> list[dict]:
    """The record of each model that stands for it where budgets are no matter: the one with the loosest."""
    best: dict[str, dict] = {}
    for record in records:
        if record["model"] not in best or budget_order(record) > budget_order(best[record["model"]]):
            best[record["model"]] = record
    return list(best.values())


def model_colours(records: list[dict]) -> dict[str, str]:
    """A colour for each model: ink for the base, the palette for the others in their order."""
    base = find_base(records)
    others = [model for model in dict.fromkeys(r["model"] for r in records) if model != base]
    return {base: INK, **{model: COLOURS[i % len(COLOURS)] for i, model in enumerate(others)}}


def line_markers(lines: list[dict]) -> Iterator[tuple[str, dict]]:
    """A marker for each line, with the line."""
    return zip(cycle(MARKERS), lines, strict=False)


def style_points(record: dict) -> dict[str, tuple[float, float]]:
    """Style -> (tokens, accuracy) when it is used at every difficulty, all difficulties counting equally.

    Styles that are too rare at some difficulty are left out: they could not be compared.
    """
    out = {}
    for style, cells in record["by_style"].items():
        here = [cells[d]["usual"] for d in record["by_difficulty"] if d in cells]
        if len(here) == len(record["by_difficulty"]) and min(cell["num_samples"] for cell in here) >= MIN_CELL:
            out[style] = tuple(sum(cell[name] for cell in here) / len(here) for name in ("tokens_mean", "accuracy"))
    return out


def style_frontier(record: dict) -> list[tuple[float, float]]:
    """Vertices (tokens, accuracy) of the best choice of a style for each difficulty; empty where styles are unknown."""
    from timecost.evaluation.metrics import best_mixture

    per_difficulty = [
        {
            style: (cells[d]["usual"]["tokens_mean"], cells[d]["usual"]["accuracy"])
            for style, cells in record["by_style"].items()
            if d in cells and cells[d]["usual"]["num_samples"] >= MIN_CELL
        }
        for d in record["by_difficulty"]
    ]
    return best_mixture(per_difficulty) if per_difficulty and all(per_difficulty) else []


@in_our_style
def frontier(records: list[dict], base: str | None = None, width: float = WIDE, colours: dict[str, str] | None = None):
    """Accuracy against mean tokens, with both intervals: a labelled point per model, and a line with one per budget.

    `base` names the model whose styles are drawn in grey: each style on every problem, and the line of the best choice
    of a style for each difficulty.
    """
    names, colours = labels_of(r["model"] for r in records), colours or model_colours(records)
    base = base or find_base(records)
    figure, axes = new_figure(width, 4.3 if width > NARROW else 3.9)
    labels, notes = [], []  # (x, y, text, colour, size); lines
    based = next((r for r in one_per_model(records) if r["model"] == base), None)
    if based is not None:
        if styles := style_points(based):
            notes.append(f"grey: the styles of {names[base]}, each on every problem")
        if line := style_frontier(based):
            notes.append("dashed: the best style per difficulty")
            axes.plot(*zip(*percent(line), strict=True), color=GREY, linewidth=1.0, linestyle=(0, (4, 2)), zorder=2)
        for style, point in styles.items():
            x, y = percent([point])[0]
            axes.plot(x, y, marker="o", markersize=4, color=GREY, zorder=3)
            labels.append((x, y, style, GREY, 8))
    drawn, written = lines_of(records), []  # records whose budget or price is written beside them
    for marker, line in line_markers(drawn):
        known = [r for r in line["records"] if r["accuracy"] is not None]
        if not known:
            continue
        colour, several = colours[line["model"]], len(known) > 1
        xs, ys = [r["tokens_mean"] for r in known], [100 * r["accuracy"] for r in known]
        bounded = [(x, y) for x, y, r in zip(xs, ys, known, strict=True) if r["budget"] != "inf"]
        if len(bounded) > 1:  # without a bound a model may use less than under a large one: no point of this line
            axes.plot(*zip(*bounded, strict=True), color=colour, linewidth=1.4, alpha=0.75, zorder=4)
        axes.errorbar(
            xs, ys, xerr=spread(known, "tokens_mean", 1), yerr=spread(known, "accuracy", 100), color=colour,
            marker=marker, markersize=6 if several else 8, markeredgecolor=PAPER, markeredgewidth=1.0,
            elinewidth=1.3, capsize=0, linestyle="none", zorder=5,
        )  # fmt: skip
        top = max(range(len(known)), key=lambda i: budget_order(known[i]))
        asked = [r.get("price") or r["budget"] for r in known]
        bound = "" if asked[top] == "inf" else f", {asked[top]}"
        labels.append((xs[top], ys[top], line["name"] + bound, colour, 11))
        rest = [i for i in range(len(known)) if i != top] if len(drawn) <= 4 else []
        labels += [(xs[i], ys[i], asked[i], colour, 7.5) for i in rest]
        written += [known[i] for i in rest] + ([known[top]] if bound else [])
    axes.set_xlabel("mean tokens per completion, thinking and answer" if width > NARROW else "mean tokens")
    axes.set_ylabel("accuracy, %")
    axes.margins(x=0.08, y=0.12)
    axes.set_xlim(0, axes.get_xlim()[1])
    axes.set_ylim(top=min(axes.get_ylim()[1], 103))
    axes.set_title("Accuracy against time")
    if any(r["budget"] == "auto" for r in written):
        notes.insert(0, "with a unit: the price at which the value head stops")
    if any(r["budget"] != "auto" for r in written):
        notes.insert(0, "numbers: the budget asked for; beside a name alone: none")
    if notes:
        figure.supxlabel("\n".join(notes), x=0.995, ha="right", fontsize=7.5, color=GREY)
    place_labels(figure, axes, sorted(labels, key=lambda label: -label[4]))
    return figure


@in_our_style
def adherence(
    records: list[dict], used: dict[tuple, tuple[float, float]] | None = None, width: float = WIDE,
    colours: dict[str, str] | None = None,
):  # fmt: skip
    """Thinking tokens used against the budget asked for, a line per model; on the diagonal the two are equal.

    `used` maps the key of a record to the 5th and 95th percentile of thinking tokens, drawn as a bar.
    """
    colours = colours or model_colours(records)
    figure, axes = new_figure(width, 3.8 if width > NARROW else 3.6)
    lines = [line for line in lines_of(records) if any(map(is_bounded, line["records"]))]
    rungs = sorted({int(r["budget"]) for r in records if is_bounded(r)})
    axes.plot(rungs, rungs, color=GREY, linewidth=1.0, linestyle=(0, (4, 2)), zorder=2)
    for i, (marker, line) in enumerate(line_markers(lines)):
        known = [r for r in line["records"] if is_bounded(r)]
        shift = 2 ** (0.09 * (i - (len(lines) - 1) / 2))  # side by side, so that bars do not cover each other
        xs, ys = [int(r["budget"]) * shift for r in known], [r["thinking_tokens_mean"] for r in known]
        colour = colours[line["model"]]
        bars = [(used or {}).get(key_of(r)) for r in known]
        for x, bar in zip(xs, bars, strict=True):
            if bar is not None:
                axes.plot([x, x], bar, color=colour, linewidth=1.3, alpha=0.7)
        axes.plot(
            xs, ys, color=colour, linewidth=1.4, marker=marker, markersize=6.5,
            markeredgecolor=PAPER, label=line["name"], zorder=4,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("symlog", base=2, linthresh=1)  # linear below one token, where a logarithm has no room for 0
    axes.set_ylim(bottom=0)
    axes.set_xticks(rungs, [str(rung) for rung in rungs])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("budget asked for, thinking tokens")
    axes.set_ylabel("thinking tokens used, mean")
    axes.set_title("Asked against used")
    axes.legend(loc="upper left", fontsize=9)
    note = "dashed: as many as asked" + ("; bars: 5th to 95th percentile" if used else "")
    figure.supxlabel(note, x=0.995, ha="right", fontsize=7.5, color=GREY)
    return figure


@in_our_style
def tokens_by_difficulty(records: list[dict], width: float = WIDE, colours: dict[str, str] | None = None):
    """Mean tokens per completion at each difficulty, a line per model with its interval as a band."""
    names, colours = labels_of(r["model"] for r in records), colours or model_colours(records)
    figure, axes = new_figure(width, 3.8 if width > NARROW else 3.4)
    for marker, record in zip(cycle(MARKERS), records, strict=False):
        cells = record["by_difficulty"]
        x = [int(d) for d in cells]
        colour = colours[record["model"]]
        axes.fill_between(
            x, [c["tokens_mean_low"] for c in cells.values()], [c["tokens_mean_high"] for c in cells.values()],
            color=colour, alpha=0.18, linewidth=0,
        )  # fmt: skip
        axes.plot(
            x, [c["tokens_mean"] for c in cells.values()], color=colour, marker=marker, markersize=6,
            markeredgecolor=PAPER, label=names[record["model"]],
        )  # fmt: skip
    axes.set_xticks(sorted({int(d) for r in records for d in r["by_difficulty"]}))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("difficulty")
    axes.set_ylabel("mean tokens")
    axes.set_title("Time by difficulty")
    axes.legend(loc="upper left", fontsize=9)
    return figure


@in_our_style
def style_shares(records: list[dict], width: float = WIDE):
    """Share of each style of thinking at each difficulty, stacked, one panel per model; cheap styles are light."""
    names = labels_of(r["model"] for r in records)
    records = [r for r in records if r["styles"] and r["by_difficulty"]]
    styles = styles_by_cost(records)
    columns = min(len(records), 2 if width <= NARROW or len(records) == 4 else 3)
    rows = -(-len(records) // columns)
    if width > NARROW:
        width = max(4.2, 1.2 + 2.2 * columns)
    figure, panels = new_figure(width, 0.7 + (2.9 if width > NARROW else 2.2) * rows, columns, rows)
    for axes in panels[len(records) :]:
        axes.set_visible(False)
    for axes, record in zip(panels, records, strict=False):
        x = [int(d) for d in record["by_difficulty"]]
        bottom = [0.0] * len(x)
        for style, colour in styles.items():
            heights = [100 * cell["styles"].get(style, 0) for cell in record["by_difficulty"].values()]
            axes.bar(x, heights, 0.84, bottom=bottom, color=colour, edgecolor=PAPER, linewidth=0.5, label=style)
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
        axes.set_title(names[record["model"]], fontsize=10, fontweight="normal")
        axes.set_xticks(x)
        axes.set_ylim(0, 100)
        axes.grid(False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("difficulty")
        axes.tick_params(axis="x", labelsize=8.5)
    for axes in panels[::columns]:
        axes.set_ylabel("share of completions, %")
    title = "Styles of thinking, from cheap (light) to costly" if width > NARROW else "Styles, light: cheap"
    figure.suptitle(title, x=0.02, ha="left", fontsize=11, weight="bold")
    handles, labels = panels[0].get_legend_handles_labels()
    place = {"loc": "outside right center"} if width > NARROW else {"loc": "outside lower center", "ncols": 3}
    figure.legend(handles[::-1], labels[::-1], fontsize=9, handlelength=1, handleheight=1, **place)
    return figure


@in_our_style
def anytime(curve: dict, width: float = WIDE):
    """Chance of a right answer when thinking stops after so many tokens: measured by probes, and as a head forecasts.

    `curve` holds lists of equal length: `tokens`, `measured`, and where known `measured_low`, `measured_high` and
    `forecast`, all shares.
    """
    figure, axes = new_figure(width, 3.6 if width > NARROW else 3.3)
    x = curve["tokens"]
    if curve.get("measured_low") and curve.get("measured_high"):
        low, high = ([100 * v for v in curve[name]] for name in ("measured_low", "measured_high"))
        axes.fill_between(x, low, high, color=COLOURS[0], alpha=0.18, linewidth=0)
    axes.plot(x, [100 * v for v in curve["measured"]], color=COLOURS[0], marker="o", markersize=4, label="measured")
    if curve.get("forecast"):
        axes.plot(x, [100 * v for v in curve["forecast"]], color=COLOURS[1], linestyle=(0, (4, 2)), label="forecast")
    axes.set_xlabel("thinking tokens before the answer")
    axes.set_ylabel("right answers, %")
    axes.set_ylim(0, 103)
    axes.set_xlim(left=0)
    axes.set_title("What stopping early gives")
    axes.legend(loc="lower right", fontsize=9)
    return figure


@in_our_style
def reliability(bins: list[dict], width: float = WIDE):
    """Share of right answers against the forecast of it, in bins `{"forecast", "outcome", "num"}`; area: points."""
    figure, axes = new_figure(min(width, 4.6), min(width, 4.6) * 0.92)
    most = max(one["num"] for one in bins) or 1
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=1.0, linestyle=(0, (4, 2)), zorder=2)
    x, y = ([100 * one[name] for one in bins] for name in ("forecast", "outcome"))
    axes.plot(x, y, color=COLOURS[0], linewidth=1.2, alpha=0.6, zorder=3)
    axes.scatter(x, y, s=[20 + 60 * one["num"] / most for one in bins], color=COLOURS[0], edgecolors=PAPER, zorder=4)
    axes.set_xlabel("forecast chance of a right answer, %")
    axes.set_ylabel("right answers, %")
    axes.set_xlim(-3, 103)
    axes.set_ylim(-3, 103)
    axes.set_title("Is the forecast right?")
    figure.supxlabel("dashed: a forecast that is always right", x=0.995, ha="right", fontsize=7.5, color=GREY)
    return figure


def styles_by_cost(records: list[dict]) -> dict[str, str]:
    """Style -> colour, from light to dark in order of mean tokens, difficulties counting equally; `other` is grey."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    tokens: dict[str, dict[str, float]] = {}  # the first record, the base where there is one, has the most of them
    for record in base_first(records):
        for style, cells in record["by_style"].items():
            for difficulty, cell in cells.items():
                tokens.setdefault(style, {}).setdefault(difficulty, cell["tokens_mean"])
    ordered = sorted((s for s in tokens if s != "other"), key=lambda s: sum(tokens[s].values()) / len(tokens[s]))
    shades = colormaps["YlGnBu"]
    colours = {s: to_hex(shades(0.2 + 0.75 * i / max(1, len(ordered) - 1))) for i, s in enumerate(ordered)}
    return {**colours, "other": LINE} if "other" in tokens else colours


# Helpers --------------------------------------------------------------------------------------------------------------


def new_figure(width: float, height: float, columns: int | None = None, rows: int = 1):
    """A figure, in inches, with one pair of axes or a list of `rows` x `columns` that share their y axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns or 1, sharey=True, squeeze=False)
    return figure, list(axes.flat) if columns else axes[0][0]


def spread(records: list[dict], name: str, scale: float) -> list[list[float]]:
    """Distances from a measure to the two ends of its interval, 0 where they are unknown."""
    below, above = [], []
    for record in records:
        value, low, high = (record.get(key) for key in (name, f"{name}_low", f"{name}_high"))
        below.append(0 if low is None else scale * max(0, value - low))
        above.append(0 if high is None else scale * max(0, high - value))
    return [below, above]


@in_our_style
def save(figure, path: str | Path) -> None:
    """Write the figure beside `path` as .png (160 dpi) and .svg."""
    figure.savefig(Path(path).with_suffix(".png"), dpi=160)
    figure.savefig(Path(path).with_suffix(".svg"), metadata={"Date": None})


@in_our_style
def svg(figure) -> str:
    """The figure as the text of an SVG document."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def inline_svg(figure, prefix: str, label: str) -> str:
    """The figure as an <svg> element for a page: text as text, colours as variables, ids that begin with `prefix`.

    The page defines --ink, --grey, --line, --paper and --c0, --c1 ... for both of its themes. `label` is what a reader
    hears who cannot see it.
    """
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        text = svg(figure)
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", text)
    names = {INK: "ink", GREY: "grey", LINE: "line", PAPER: "paper", **{c: f"c{i}" for i, c in enumerate(COLOURS)}}
    for colour, name in names.items():
        text = re.sub(colour, f"var(--{name})", text, flags=re.I)
    _, _, rest = text.partition(">")
    box = re.search(r'viewBox="[^"]+"', text)[0]
    most = f'style="max-width: {115 * figure.get_figwidth():.0f}px"'  # so that letters are as large in every figure
    said = escape(label, quote=True)
    return f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {box} {most} role="img" aria-label="{said}">{rest}'


def place_labels(figure, axes, labels: list[tuple[float, float, str, str, float]]) -> None:
    """Write each (x, y, text, colour, size) beside its point, at the first of twelve places that is free."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    renderer = figure._get_renderer()
    inside = axes.get_window_extent(renderer)
    points = [axes.transData.transform((x, y)) for x, y, *_ in labels]
    taken = [Bbox.from_bounds(px - 8, py - 8, 16, 16) for px, py in points]
    for line in axes.lines:  # eight places along each segment of the frontier
        ends = axes.transData.transform(line.get_xydata())
        for (ax, ay), (bx, by) in zip(ends, ends[1:], strict=False):
            taken += [Bbox.from_bounds(ax + (bx - ax) * i / 8, ay + (by - ay) * i / 8, 2, 2) for i in range(8)]
    for bars in axes.collections:  # of intervals
        taken += [Bbox(axes.transData.transform(bar)).padded(1) for bar in getattr(bars, "get_segments", list)()]
    places = [(8, 7, "left", "bottom"), (8, -7, "left", "top"), (-8, 7, "right", "bottom"), (-8, -7, "right", "top"),
              (0, 10, "center", "bottom"), (0, -10, "center", "top"), (10, 0, "left", "center"),
              (-10, 0, "right", "center"), (8, 20, "left", "bottom"), (-8, 20, "right", "bottom"),
              (8, -20, "left", "top"), (-8, -20, "right", "top")]  # fmt: skip
    for x, y, text, colour, size in labels:
        best = None
        for dx, dy, ha, va in places:
            note = axes.annotate(
                text, (x, y), (dx, dy), textcoords="offset points", ha=ha, va=va, color=colour, fontsize=size,
                fontweight="bold" if size > 10 else "normal", zorder=6,
            )  # fmt: skip
            box = note.get_window_extent(renderer)
            clash = sum(box.overlaps(other) for other in taken)
            clash += not (inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1)
            if best is None or clash < best[0]:
                if best is not None:
                    best[1].remove()
                best = (clash, note, box)
            else:
                note.remove()
            if clash == 0:
                break
        taken.append(best[2])


def percent(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """(tokens, accuracy) with the accuracy in percent."""
    return [(tokens, 100 * accuracy) for tokens, accuracy in points]
