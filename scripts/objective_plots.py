"""Figures of a comparison of objectives, from what compare_objectives.py writes to docs/results/."""

from pathlib import Path

from objective_measures import POINT
from objective_phases import BASELINE, OURS

from timecost.evaluation.figures import (
    COLOURS,
    GREY,
    INK,
    LINE,
    PAPER,
    in_our_style,
    new_figure,
    place_labels,
    save,
    spread,
)


def plot(result: dict, path: Path) -> None:
    """Write the figure of a phase beside `path`: in one panel where each objective has one arm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    one_each = len(result["arms"]) == len(result["ranking"])
    save(one_panel(result) if one_each else panels(result), path)


@in_our_style
def panels(result: dict, columns: int = 4):
    """Accuracy against tokens, a panel for each objective: its arms before those of all others, `accuracy` in each.

    Forms of an objective are hollow. An arm below the floor of the hypervolume stands at the lower edge, with its
    value.
    """
    bottom = 100 * result["reference_point"]["accuracy"]
    arms = [{**row, "x": row["tokens_mean"], "y": 100 * row["accuracy"]} for row in result["arms"]]
    shown = [row for row in arms if row["y"] >= bottom]
    names = [row["objective"] for row in result["ranking"] if row["objective"] != BASELINE]
    baseline = next(row for row in arms if row["objective"] == BASELINE)
    num_rows = -(-len(names) // columns)
    figure, all_axes = new_figure(9.6, 0.6 + 1.9 * num_rows, columns, num_rows)
    for axes, name in zip(all_axes, names, strict=False):
        axes.plot([row["x"] for row in shown], [row["y"] for row in shown], "o", color=LINE, markersize=3, zorder=1)
        axes.plot(baseline["x"], baseline["y"], "s", color=INK, markersize=5)
        for arm in dict.fromkeys(row["arm"] for row in arms if row["objective"] == name):
            own = sorted((row for row in shown if row["arm"] == arm), key=lambda row: row["x"])
            form = arm != name
            axes.errorbar(
                [row["x"] for row in own], [row["y"] for row in own], yerr=spread(own, "accuracy", 100),
                color=COLOURS[form], marker="o", markersize=5, markerfacecolor=PAPER if form else None, elinewidth=1.0,
                linewidth=1.0,
            )  # fmt: skip
        low = sorted((row for row in arms if row["objective"] == name and row["y"] < bottom), key=lambda row: row["x"])
        if low:
            axes.plot([row["x"] for row in low], [bottom + 0.1] * len(low), "v", color=COLOURS[1], markersize=5)
            values = ", ".join(f"{row['y']:.0f} %" for row in low)
            axes.text(0.03, 0.12, values, transform=axes.transAxes, color=GREY, fontsize=8)
        axes.set_title(name, fontsize=10, pad=4)
        axes.set_xlim(0, 1.1 * max(row["x"] for row in arms))
        axes.set_ylim(bottom - 0.2, 100.2)
    for axes in all_axes[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("mean tokens per completion", fontsize=10)
    figure.supylabel("accuracy, %", fontsize=10)
    return figure


@in_our_style
def one_panel(result: dict):
    """Accuracy against tokens in one panel, for a phase with an arm for each objective: means with their intervals,
    each seed (small), the accuracy of `accuracy` and a point less, and what choosing styles alone would give (dashed).
    """
    baseline = next(row for row in result["arms"] if row["objective"] == BASELINE)
    arms = [row for row in result["arms"] if row["objective"] != BASELINE]
    seeds = [(seed["tokens"], 100 * seed["accuracy"]) for row in arms for seed in row["by_seed"]]
    figure, axes = new_figure(7.2, 4.4)
    left, right = min(x for x, _ in seeds) - 0.7, max(x for x, _ in seeds) + 1.2
    bottom = min(min(y for _, y in seeds), 100 * (baseline["accuracy"] - POINT)) - 0.3
    for y, text in ((100 * baseline["accuracy"], f"{BASELINE}, {baseline['tokens_mean']:.1f} tokens"),
                    (100 * (baseline["accuracy"] - POINT), "a point less")):  # fmt: skip
        axes.axhline(y, color=LINE, linewidth=1.0, zorder=0)
        axes.text(left + 0.05, y + 0.03, text, color=GREY, fontsize=8)
    if points := result["best_choice"]["points"]:
        axes.plot([x for x, _ in points], [100 * y for _, y in points], "--", color=GREY, linewidth=1.0, zorder=1)
    labels = []
    for k, row in enumerate(arms):
        colour = INK if row["objective"] == OURS else COLOURS[k % len(COLOURS)]
        x, y = row["tokens_mean"], 100 * row["accuracy"]
        axes.errorbar(
            x, y, xerr=spread([row], "tokens_mean", 1), yerr=spread([row], "accuracy", 100), color=colour,
            marker="o", markersize=6, linewidth=1.2,
        )  # fmt: skip
        own = row["by_seed"]
        axes.plot([s["tokens"] for s in own], [100 * s["accuracy"] for s in own], "o", color=colour, markersize=2.5)
        labels.append((x, y, f"{row['arm']} {row['strength'] or ''}", colour, 8.5))
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, 100)
    axes.set_xlabel("mean tokens per completion")
    axes.set_ylabel("accuracy, %")
    place_labels(figure, axes, labels)
    return figure
