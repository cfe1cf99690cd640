"""Figures of a report, drawn with matplotlib from the records of one task.

Each function returns a `Figure`; `save` writes it as PNG and SVG, `svg` gives the SVG as text. Colours are those of
Okabe & Ito, which stay apart for colour-blind readers; models differ by marker as well.
"""

import functools
import io
from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path

BASE_LABELS = ("base", "arithmetic_base")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "D", "s", "^", "v", "P")
INK, GREY, LINE, PAPER = "#1f2328", "#8a8f98", "#d9dce1", "#ffffff"
STYLE = {
    "figure.facecolor": PAPER, "axes.facecolor": PAPER, "savefig.facecolor": PAPER, "figure.dpi": 160,
    "font.size": 10, "font.family": "sans-serif", "text.color": INK,
    "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 10,
    "axes.labelcolor": INK, "axes.edgecolor": GREY, "axes.linewidth": 0.8, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": LINE, "grid.linewidth": 0.6,
    "xtick.color": INK, "ytick.color": INK, "xtick.major.size": 0, "ytick.major.size": 0,
    "legend.frameon": False, "lines.linewidth": 2.0, "svg.hashsalt": "timecost",
}  # fmt: skip
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
        (r["model"] for r in records if short_names(r["model"] for r in records)[r["model"]] in BASE_LABELS), None
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


def model_colours(records: list[dict]) -> dict[str, str]:
    """A colour for each model: ink for the base, the palette for the others in their order."""
    base = find_base(records)
    others = [model for model in dict.fromkeys(r["model"] for r in records) if model != base]
    return {base: INK, **{model: COLOURS[i % len(COLOURS)] for i, model in enumerate(others)}}


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
def frontier(records: list[dict], base: str | None = None):
    """Accuracy against mean tokens: a labelled point per model with both intervals.

    `base` names the model whose styles are drawn in grey: each style on every problem, and the line of the best choice
    of a style for each difficulty.
    """
    names, colours = short_names(r["model"] for r in records), model_colours(records)
    base = base or find_base(records)
    figure, axes = new_figure(6.4, 4.3)
    labels = []  # (x, y, text, colour, size)
    based = next((r for r in records if r["model"] == base), None)
    if based is not None:
        line = style_frontier(based)
        if line:
            axes.plot(*zip(*percent(line), strict=True), color=GREY, linewidth=1.2, zorder=2)
        for style, point in style_points(based).items():
            x, y = percent([point])[0]
            axes.plot(x, y, marker="o", markersize=4.5, color=GREY, zorder=3)
            labels.append((x, y, style, GREY, 8.5))
    for marker, record in zip(cycle(MARKERS), records, strict=False):
        if record["accuracy"] is None:
            continue
        x, y = record["tokens_mean"], 100 * record["accuracy"]
        spread_x = [[max(0, x - record["tokens_mean_low"])], [max(0, record["tokens_mean_high"] - x)]]
        spread_y = [[max(0, y - 100 * record["accuracy_low"])], [max(0, 100 * record["accuracy_high"] - y)]]
        colour = colours[record["model"]]
        axes.errorbar(
            x, y, xerr=spread_x, yerr=spread_y, color=colour, marker=marker, markersize=8, markeredgecolor=PAPER,
            markeredgewidth=1.0, elinewidth=1.6, capsize=0, zorder=5,
        )  # fmt: skip
        labels.append((x, y, names[record["model"]], colour, 11))
    axes.set_xlabel("mean tokens per completion, thinking and answer")
    axes.set_ylabel("accuracy, %")
    axes.margins(x=0.08, y=0.12)
    axes.set_xlim(0, axes.get_xlim()[1])
    axes.set_ylim(top=min(axes.get_ylim()[1], 103))
    axes.set_title("Accuracy against time")
    if based is not None and style_points(based):
        note = f"grey: the styles of {names[base]}, each on every problem; line: the best one for each difficulty"
        figure.supxlabel(note, x=0.995, ha="right", fontsize=7.5, color=GREY)
    place_labels(figure, axes, sorted(labels, key=lambda label: -label[4]))
    return figure


@in_our_style
def tokens_by_difficulty(records: list[dict]):
    """Mean tokens per completion at each difficulty, a line per model with its interval as a band."""
    names, colours = short_names(r["model"] for r in records), model_colours(records)
    figure, axes = new_figure(6.4, 3.8)
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
    axes.legend(loc="upper left")
    return figure


@in_our_style
def style_shares(records: list[dict]):
    """Share of each style of thinking at each difficulty, stacked, one panel per model; cheap styles are light."""
    names = short_names(r["model"] for r in records)
    records = [r for r in records if r["styles"] and r["by_difficulty"]]
    styles = styles_by_cost(records)
    figure, panels = new_figure(max(4.2, 2.6 * len(records)), 3.6, columns=len(records))
    for axes, record in zip(panels, records, strict=True):
        x = [int(d) for d in record["by_difficulty"]]
        bottom = [0.0] * len(x)
        for style, colour in styles.items():
            heights = [100 * cell["styles"].get(style, 0) for cell in record["by_difficulty"].values()]
            axes.bar(x, heights, 0.84, bottom=bottom, color=colour, edgecolor=PAPER, linewidth=0.5, label=style)
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
        axes.set_title(names[record["model"]])
        axes.set_xticks(x)
        axes.set_ylim(0, 100)
        axes.grid(False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("difficulty")
        axes.tick_params(axis="x", labelsize=8.5)
    panels[0].set_ylabel("share of completions, %")
    handles, labels = panels[-1].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", fontsize=9, handlelength=1, handleheight=1)
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


def new_figure(width: float, height: float, columns: int | None = None):
    """A figure, in inches, with one pair of axes or a list of `columns` that share their y axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns or 1, sharey=True, squeeze=False)[0]
    return figure, list(axes) if columns else axes[0]


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


def place_labels(figure, axes, labels: list[tuple[float, float, str, str, float]]) -> None:
    """Write each (x, y, text, colour, size) beside its point, at the first of eight places that is free."""
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
    places = [(8, 7, "left", "bottom"), (8, -7, "left", "top"), (-8, 7, "right", "bottom"), (-8, -7, "right", "top"),
              (0, 10, "center", "bottom"), (0, -10, "center", "top"), (10, 0, "left", "center"),
              (-10, 0, "right", "center")]  # fmt: skip
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
