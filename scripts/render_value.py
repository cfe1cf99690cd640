"""Writes docs/value_results.md from what scripts/measure_value.py and bench_value.py measured, and draws its picture.

python scripts/render_value.py
"""

import json
from pathlib import Path

from render_results import RESULTS, table

HORIZONS = ("0", "1", "4", "16", "64", "end")
RIVALS = ("never stop", "fixed budget", "confidence", "entropy", "agreement", "length only", "question only")
BLIND = ("length only", "question only", "answer", "head without peek", "raw confidence")
INTRO = """# The value head, measured

Written by `scripts/render_value.py` from [results/value.json](results/value.json) and
[results/value_overhead.json](results/value_overhead.json), which hold versions, commit and machine of each part. What
it means: [value.md](value.md#measured). Brackets are 95 % intervals, by a bootstrap over problems.

`base` is the embedded base, frozen; `levin-0`, `-1`, `-2` are it after training by the recipe `arithmetic_levin`, three
seeds, frozen. Each has a head fitted to thoughts on training problems; rivals are tuned and prices chosen on validation
problems. `test problems of seed 23` are others, drawn after the heads were last changed.
"""


def cell(value: list[float], spec: str = ".3f", scale: float = 1.0) -> str:
    middle, low, high = (scale * number for number in value)
    return f"{middle:{spec}} [{low:{spec}}, {high:{spec}}]"


def calibration_section(models: dict) -> str:
    errors = [
        [
            name,
            str(m["calibration"]["num_points"]),
            *(f"{m['calibration']['horizons'][h]['ece']:.3f}" for h in HORIZONS),
        ]
        for name, m in models.items()
    ]
    horizons = models["base"]["calibration"]["horizons"]
    brier = [
        [name, *(f"{horizons[h]['brier'][name]:.4f}" for h in HORIZONS)] for name in ("head", *BLIND)
    ]  # fmt: skip
    below = [[name, *(cell(horizons[h]["brier_below"][name], ".4f") for h in HORIZONS)] for name in BLIND]
    seeds = [
        [str(row["seed"]), f"{max(row['ece'].values()):.3f}", f"{row['auroc_now']:.3f}",
         cell(row["head_above_best_rival_mean"], ".4f"),
         cell(row["largest_saving_on_test"]["tokens_saved"], ".1f", 100),
         cell(row["largest_saving_on_test"]["accuracy_lost"], ".2f", 100)]
        for row in models["base"]["seeds"]
    ]  # fmt: skip
    header = [f"Δ = {h}" if h != "end" else h for h in HORIZONS]
    return "\n".join(
        [
            "## Calibration\n",
            "Error of calibration (ECE, 15 bins of equal mass) of the chance of a right answer Δ tokens from here.\n",
            table(["model", "boundaries", *header], errors),
            "Brier score on the base: the head, heads that see only the position, the question, or the answer (its "
            "confidence, entropy and agreement, but no state), the head where it may not look at the answer, and the "
            "answer's confidence as it is.\n",
            table(["", *header], brier),
            "By how much the head's is lower.\n",
            table(["", *header], below),
            "Three heads on the base, each fitted to thoughts on problems of its own. Saving: the most among the "
            "prices that lose at most half a point on these test problems.\n",
            table(["head", "largest ECE", "AUROC, an answer now", "utility above the best rival", "tokens saved, %",
                   "points lost"], seeds),
        ]
    )  # fmt: skip


def discrimination_section(models: dict) -> str:
    rows, matched = [], []
    for name, model in models.items():
        for horizon in ("0", "end"):
            if found := model.get("discrimination", {}).get(horizon):
                rows.append(
                    [name, "now" if horizon == "0" else horizon,
                     *(f"{found[view]['pooled']:.3f}, {found[view]['within'][0]:.3f}" for view in ("head", *BLIND))]
                )  # fmt: skip
        for horizon, many in model["matched"]["horizons"].items():
            matched.append(
                [name, "now" if horizon == "0" else horizon, str(many["num_matched_pairs"]),
                 cell(many["head"]["matched"]),
                 *(cell(many[view]["head_above_matched"]) for view in ("length only", "raw confidence", "answer"))]
            )  # fmt: skip
    return "\n".join(
        [
            "## Telling right from wrong\n",
            "AUROC in the pool, and within problems.\n",
            table(["model", "answer", "head", *BLIND], rows),
            "Within problems and at the same position, over pairs of thoughts of which one ends right and one wrong, "
            "from 16 thoughts on each problem, for an answer so many tokens from there: the head's AUROC, and what it "
            "is above the others'.\n",
            table(["model", "answer", "pairs", "head", "above position", "above confidence", "above the answer's head"],
                  matched),
        ]
    )  # fmt: skip


def utility_section(models: dict) -> str:
    base = models["base"]
    rows, of_oracle = [], base["oracle"]["rows"]
    for row, oracle in zip(base["utility"]["rows"], of_oracle, strict=True):
        reached = row["utility"]
        best = {name: max(v for k, v in reached.items() if k == name or k.startswith(f"{name} (")) for name in RIVALS}
        rows.append(
            [f"{row['price']:.4f}", *(f"{best[name]:.4f}" for name in RIVALS),
             f"{reached['head (closed)']:.4f}", cell(row["head_above_best_rival"], ".4f"),
             cell(row["closed_above_open"], ".4f"), f"{100 * oracle['closed']['head (closed)']:.0f} %"]
        )  # fmt: skip
    others = []
    for name, model in models.items():
        by_price = model["utility"]["rows"]
        below = [row for row in by_price if row["head_above_best_rival"][2] < 0]
        others.append(
            [name, cell(model["utility"]["head_above_best_rival_mean"], ".4f"),
             f"{sum(row['head_above_best_rival'][1] > 0 for row in by_price)} of {len(by_price)}",
             "; ".join(f"{r['price']:.4f}: {r['head_above_best_rival'][0]:.4f} ({r['best_rival']})" for r in below)
             or "none"]
        )  # fmt: skip
    against_answer = [
        [f"{price:.4f}", *(cell(model["utility"]["rows"][k]["head_above_answer"], ".4f") for model in models.values())]
        for k, price in enumerate(row["price"] for row in base["utility"]["rows"])
    ]  # fmt: skip
    looks = [f"{name}, up to {model['peek_up_to']:.4f}" for name, model in models.items()]
    savings = [
        [name, f"{100 * model['full']['accuracy'][0]:.1f}", f"{model['full']['thinking_tokens'][0]:.1f}", which,
         f"{found['price']:.4f}", cell(found["accuracy_lost"], ".2f", 100), cell(found["tokens_saved"], ".1f", 100)]
        for name, model in models.items()
        for which, found in (("on validation", model["saving"]["chosen_on_tuning"]),
                             ("on test, at most 0.5 points", model["saving"]["largest_on_test"]))
    ]  # fmt: skip
    return "\n".join(
        [
            "## Net utility\n",
            "Chance of a right answer minus price times thinking tokens, each look at the answer one token, on the "
            "base. Thresholds of the rivals are tuned for each price anew; of a rival with two loops the better is "
            "shown. Last columns: the head above the best rival (heads of the answer alone are below), the "
            "closed loop above the open one, and the share that the head closes of the gap between never stopping and "
            f"an oracle that samples {base['oracle']['continuations']} fresh continuations at each of "
            f"{base['oracle']['num_boundaries']} boundaries.\n",
            table(["price", *RIVALS, "head", "above the best rival", "closed above open", "of the oracle's gap"], rows),
            "![Net utility of other ways to stop against the head's, and reliability](images/value.png)\n",
            "Every model: on average over the prices, at how many prices clear of 0, and where below it clear of 0.\n",
            table(["model", "above the best rival", "clear of 0", "below, clear of 0"], others),
            "Above a head that sees the answer alone and is fitted like ours. It pays for a look at every boundary; "
            "ours does not look above the price named, where all it is ahead by may be that.\n",
            table(["price", *looks], against_answer),
            "What is saved, at a price chosen for at most half a point lost.\n",
            table(["model", "accuracy in full, %", "tokens in full", "price chosen", "price", "points lost",
                   "tokens saved, %"], savings),
        ]
    )  # fmt: skip


def joint_section(models: dict) -> str:
    later, joint = models["levin-0"], models["joint-0"]["joint"]
    saved = later["saving"]["chosen_on_tuning"]
    found = {
        "later, frozen": {
            "ece": {name: horizon["ece"] for name, horizon in later["calibration"]["horizons"].items()},
            "brier_now": later["calibration"]["horizons"]["0"]["brier"]["head"],
            "auroc_now": later["discrimination"]["0"]["head"]["pooled"],
            "auroc_end": later["discrimination"]["end"]["head"]["pooled"],
            "head_above_best_rival_mean": later["utility"]["head_above_best_rival_mean"], "saving": saved,
        },
        "beside the policy": joint,
    }  # fmt: skip
    rows = [
        [name, f"{max(row['ece'].values()):.3f}", f"{row['brier_now']:.3f}", f"{row['auroc_now']:.3f}",
         f"{row['auroc_end']:.3f}", cell(row["head_above_best_rival_mean"], ".4f"),
         cell(row["saving"]["tokens_saved"], ".1f", 100), cell(row["saving"]["accuracy_lost"], ".2f", 100)]
        for name, row in found.items()
    ]  # fmt: skip
    return "\n".join(
        [
            "## Fitted beside the policy, or later\n",
            "A head for the same weights, on the same test problems: `joint-0` is `levin-0` trained once more with "
            "`value_head`, and came out equal in every weight. Saved and lost at the price that validation problems "
            "chose.\n",
            table(["fitted", "largest ECE", "Brier, now", "AUROC, now", "AUROC, end", "utility above the best rival",
                   "tokens saved, %", "points lost"], rows),
        ]
    )  # fmt: skip


def declining_section(models: dict) -> str:
    rows, solvable = [], []
    for name, model in models.items():
        if "declining" not in model:
            continue
        for means in ("novelty", "forecast", "both"):
            found = model["declining"][means]
            rows.append(
                [name, means, *(cell(kind["declined"], ".1f", 100) for kind in found["kinds"].values()),
                 f"{100 * max(kind['tokens_over_limit'] for kind in found['kinds'].values()):.1f}"]
            )  # fmt: skip
            solvable.append(
                [name, means, *(cell(group[how], ".2f", 100) for group in found["solvable_declined"].values()
                                for how in ("distinct", "as_drawn"))]
            )  # fmt: skip
    kinds = models["base"]["declining"]["novelty"]["kinds"]
    header = [f"{kind}, {'seen' if found['seen'] else 'unseen'}, %" for kind, found in kinds.items()]
    return "\n".join(
        [
            "## Declining\n",
            "Before the first token, at a price of 0.001: by what the question looks like (novelty), by the forecast, "
            "by both. Of unsolvable problems, and the tokens spent on them as a share of the limit's, at most.\n",
            table(["model", "by", *header, "tokens, %"], rows),
            "Of problems that the model solves at least every second time, in %, each distinct one once and as they "
            "are drawn, on the test problems and on more of them.\n",
            table(["model", "by", "distinct", "as drawn", "more, distinct", "more, as drawn"], solvable),
        ]
    )  # fmt: skip


def guarantee_section(models: dict) -> str:
    found = models["base"]["guarantee"]
    loss, harm = (
        f"{found[f'{name}_exceeded']} [{low:.1f}, {high:.1f} %]"
        for name in ("loss", "harm")
        for low, high in [[100 * end for end in found[f"{name}_exceeded_interval"]]]
    )
    return "\n".join(
        [
            "## The guarantee\n",
            f"Loss {found['loss']} with δ = {found['delta']}: {found['num_sets']} calibrations on {found['set_size']} "
            f"problems each, drawn from {found['pool']}, tested on {found['test_problems']} others. The accuracy lost "
            f"was above {found['loss']} in {loss} of them, the rate of harms in {harm}. The median calibration saves "
            f"{100 * found['tokens_saved_median']:.0f} % of the thinking; {found['never_stops']} found no price "
            "that is safe.\n",
        ]
    )


def overhead_section() -> str:
    found = json.loads((RESULTS / "value_overhead.json").read_text())["result"]
    decoding = [
        [f"{found[size]['parameters']:,}", "with" if look == "peek" else "without",
         f"{found[size]['microseconds_alone']:.0f}", f"{found[size][f'{look}_added_microseconds']:.0f}",
         f"{found[size][f'{look}_ratio']:.3f}", ", ".join(f"{r:.3f}" for r in found[size][f"{look}_ratios"])]
        for size in ("decoding_embedded", "decoding_large") for look in ("no_peek", "peek")
    ]  # fmt: skip
    training = [
        [what, f"{found['training'][f'{key}_ratio']:.3f}",
         ", ".join(f"{r:.3f}" for r in found["training"][f"{key}_ratios"])]
        for what, key in (("no completion probed", "updates"), ("an eighth of the completions probed", "probes"))
    ]  # fmt: skip
    return "\n".join(
        [
            "## Overhead\n",
            "Processor time on one thread, one prompt at a time; median of paired rounds.\n",
            table(["parameters", "look at the answer", "µs a token alone", "added", "ratio", "by round"], decoding),
            "A training step of the embedded model with a head over the same step without.\n",
            table(["", "ratio", "by round"], training),
        ]
    )


def render() -> str:
    found = json.loads((RESULTS / "value.json").read_text())["models"]
    models = {name: model for name, model in found.items() if "calibration" in model}
    sections = (calibration_section, discrimination_section, utility_section, declining_section, guarantee_section)
    return "\n".join([INTRO, *(section(models) for section in sections), joint_section(found), overhead_section()])


def draw(path: Path) -> None:
    """Left, how far each other way to stop is below the head at each price; right, chances foretold and found."""
    from timecost.evaluation.figures import COLOURS, GREY, INK, MARKERS, in_our_style, new_figure, save

    base = json.loads((RESULTS / "value.json").read_text())["models"]["base"]

    @in_our_style
    def picture():
        figure, axes = new_figure(9.6, 4.0)
        axes.set_position([0.08, 0.14, 0.52, 0.74])
        right = figure.add_axes([0.68, 0.14, 0.30, 0.74])
        rows = base["utility"]["rows"]
        prices = [row["price"] for row in rows]
        shown = ("confidence", "entropy", "fixed budget", "question only (closed)", "agreement", "never stop")
        for name, colour, marker in zip(shown, COLOURS, MARKERS, strict=False):
            below = [100 * (row["utility"][name] - row["utility"]["head (closed)"]) for row in rows]
            axes.plot(prices, below, color=colour, marker=marker, markersize=5, label=name.removesuffix(" (closed)"))
        axes.axhline(0, color=INK, label="value head")
        axes.set_xscale("log")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_yticks([0, -0.5, -1, -2, -5, -10, -20, -50], ["0", "−0.5", "−1", "−2", "−5", "−10", "−20", "−50"])
        axes.set_xlabel("price, chances of a right answer per thinking token")
        axes.set_ylabel("net utility against the head, points")
        axes.set_title("Other ways to stop")
        axes.set_ylim(-80, 0.2)
        axes.legend(loc="lower left", ncols=2, fontsize=9)
        for name, colour, marker in zip(("0", "8", "end"), COLOURS, MARKERS, strict=False):
            bins = base["calibration"]["horizons"][name]["reliability"]
            told, found = ([row[i] for row in bins] for i in (0, 1))
            right.plot(told, found, color=colour, marker=marker, markersize=4, linewidth=1, label=f"Δ = {name}")
        right.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        right.set_xlabel("chance foretold")
        right.set_ylabel("share that was right")
        right.set_title("Reliability")
        right.legend()
        save(figure, path)

    picture()


def main() -> None:
    Path("docs/value_results.md").write_text(render())
    draw(Path("docs/images/value"))


if __name__ == "__main__":
    main()
