"""Writes docs/results.md from the JSON in docs/results/, so that no number is typed by hand.

python scripts/render_results.py
"""

import json
from functools import partial
from pathlib import Path

import numpy as np

RESULTS = Path("docs/results")
INTRO = """# Results

Written by `scripts/render_results.py` from the JSON files in [results/](results/), which hold versions, commit and
machine. Brackets are 95 % intervals from a bootstrap over problems; the variation between seeds stands beside them,
and where an interval holds it the section says so. Differences are paired by problem. Hyperparameters were chosen on
validation problems, forms and strengths with seed 0. The test problems are not fresh for everything: an earlier base,
since replaced, had been measured on them, and the recipe with budgets and the rules of dual control were changed
after earlier versions had been.

The task is the embedded one ([tasks.md](tasks.md)): arithmetic of 2 to 10 operands, evaluated from left to right. It
was made so that a saving exists and its size is known; it says nothing about how much another model can save.
"""


def interval(record: dict, name: str, spec: str, scale: float = 1.0) -> str:
    value, low, high = (record[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return "unknown"
    return f"{scale * value:{spec}} [{scale * low:{spec}}, {scale * high:{spec}}]"


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def load(name: str) -> tuple[dict, str]:
    content = json.loads((RESULTS / f"{name}.json").read_text())
    where = content["provenance"]
    made = ""
    if runs := where.get("runs"):
        made = "; runs evaluated at " + "; ".join(
            f"{commit_of(commit)} ({num})" if len(runs) > 1 else commit_of(commit) for commit, num in runs.items()
        )
    source = f"[results/{name}.json](results/{name}.json)"
    return content["result"], f"`{where.get('command')}`, commit {commit_of(where.get('commit'))}{made}, {source}\n"


def commit_of(commit: str | None) -> str:
    return str(commit)[:9] + (", with files that differed" if str(commit).endswith("+") else "")


def measured(label: str, record: dict) -> list[str]:
    return [label, interval(record, "accuracy", ".2f", 100), interval(record, "tokens_mean", ".2f")]


def main_section(source: str = "arithmetic_main", title: str = "As accurate in less time") -> str:
    result, note = load(source)
    entries = [*result["seeds"], result["pooled"]]
    names = [f"seed {entry['seeds'][0]}" for entry in result["seeds"]] + ["all seeds"]
    absolute = [measured("base", result["base"])]
    paired, held_out = [], []
    for name, entry in zip(names, entries, strict=True):
        absolute += [measured(f"{arm}, {name}", entry[arm]) for arm in ("accuracy", "levin")]
        for rows, against in ((paired, entry), (held_out, entry["held_out"])):
            c = against["levin_against_accuracy"]
            rows.append(
                [
                    name,
                    interval(c, "accuracy_difference", "+.2f", 100),
                    interval(c, "tokens_ratio", ".3f"),
                    interval(c, "allocation_slope", "+.4f"),
                    interval(c, "speedup_bits", "+.2f"),
                ]
            )
    against_base = [
        [f"{arm}, {name}", *(interval(entry[arm], key, "+.2f", scale) for key, scale in
         (("accuracy_difference", 100), ("speedup_bits", 1)))]
        for name, entry in zip(names, entries, strict=True) for arm in ("accuracy", "levin")
    ]  # fmt: skip
    forced = sorted(result["base_styles_forced"].items(), key=lambda item: item[1]["tokens"])
    levels = result["pooled"]["levin"]["by_difficulty"]
    others = result["pooled"]["accuracy"]["by_difficulty"]
    styles = sorted({style for level in levels.values() for style in level["styles"]})
    by_difficulty = [
        [
            difficulty,
            f"{100 * others[difficulty]['accuracy']:.1f}",
            f"{100 * level['accuracy']:.1f}",
            f"{others[difficulty]['tokens_mean']:.1f}",
            f"{level['tokens_mean']:.1f}",
            f"{100 * (1 - level['tokens_mean'] / others[difficulty]['tokens_mean']):.0f} %",
            ", ".join(
                f"{s} {100 * level['styles'].get(s, 0):.0f} %" for s in styles if level["styles"].get(s, 0) >= 0.01
            ),
        ]
        for difficulty, level in sorted(levels.items(), key=lambda item: int(item[0]))
    ]
    compared = ["run", "accuracy difference, points", "ratio of tokens", "saving per operand", "speed-up, bits"]
    return "\n".join(
        [
            f"## {title}\n",
            "2,000 test problems, 8 samples each, temperature 1, seeds 0, 1, 2; `accuracy` and `levin` from the same "
            "base, with the same steps and data.\n",
            table(["model", "accuracy, %", "tokens"], absolute),
            "`levin` against `accuracy`. The saving per operand is the slope of the share of tokens saved over the "
            "number of operands: negative where the model saves most on easy problems.\n",
            table(compared, paired),
            "The same on problems that hold a combination of operations never trained on (1,000 problems):\n",
            table(compared, held_out),
            "Against the base:\n",
            table(["model", "accuracy difference, points", "speed-up, bits"], against_base),
            "The base's own styles, each used on every problem, difficulties counting equally:\n",
            table(
                ["style", "accuracy, %", "tokens"],
                [[s, f"{100 * p['accuracy']:.2f}", f"{p['tokens']:.2f}"] for s, p in forced],
            ),
            against_forced(levels, dict(forced), result["base_styles_best_choice_per_difficulty"]),
            "By difficulty, all seeds:\n",
            table(
                ["operands", "accuracy of `accuracy`, %", "of `levin`", "tokens of `accuracy`", "of `levin`", "saved",
                 "styles of `levin`"],
                by_difficulty,
            ),
            note,
        ]
    )  # fmt: skip


def against_forced(levels: dict, styles: dict, choices: list) -> str:
    """Where `levin` lies against the base's styles, mixed or chosen by difficulty; difficulties count equally."""
    from statistics import mean

    from timecost.evaluation.metrics import best_mixture

    accuracy, tokens = (mean(level[name] for level in levels.values()) for name in ("accuracy", "tokens_mean"))
    mixed = best_mixture([{name: (p["tokens"], p["accuracy"]) for name, p in styles.items()}], [1.0])

    def at(points: list) -> float:
        x, y = zip(*points, strict=True)
        return 100 * np.interp(tokens, x, y)

    return (
        f"`levin`, all seeds, difficulties counting equally as they do there: {100 * accuracy:.2f} % with "
        f"{tokens:.2f} tokens. With as many, mixing the base's styles reaches {at(mixed):.2f} %, the best of them at "
        f"each difficulty {at(choices):.2f} %.\n"
    )


def percent(estimate: dict) -> str:
    return f"{100 * estimate['value']:.2f} [{100 * estimate['low']:.2f}, {100 * estimate['high']:.2f}]"


def budgets_section() -> str:
    result, note = load("budgets")
    pooled, seeds = result["pooled"], result["seeds"]

    def rows_of(model: str, enforce: str, condition: bool) -> list[list[str]]:
        rows = []
        for place, cell in sorted(enumerate(pooled[model]), key=lambda item: item[1]["budget"] or 0):
            if (cell["enforce"], cell["condition"]) != (enforce, condition) or cell["budget"] is None:
                continue
            by_seed = ", ".join(
                f"{100 * table_of[model][place]['correct']['value']:.1f}" for table_of in seeds.values()
            )
            use = cell.get("use_where_needed")
            rows.append(
                [
                    str(cell["budget"]), percent(cell["correct"]), by_seed,
                    *(f"{100 * cell[key]['value']:.2f}" for key in ("over", "answered", "escaped")),
                    f"{cell['thinking']['value']:.2f}", "" if use is None else f"{100 * use:.0f} %",
                ]
            )  # fmt: skip
        return rows

    header = ["budget", "accuracy, %", "by seed", "over it, %", "answered, %", "escaped, %", "thinking tokens",
              "use where needed"]  # fmt: skip
    free = [
        [name, percent(cell["correct"]), f"{cell['tokens']['value']:.2f}"]
        for name in ("budget", "levin", "accuracy") for cell in pooled[name] if cell["budget"] is None
    ]  # fmt: skip
    against = [
        [name, f"{entry['tokens']:.2f}",
         " and ".join("no bound" if budget is None else str(budget) for budget in entry["budgets"]),
         interval(entry, "accuracy_difference", "+.2f", 100)]
        for name, entry in [*((f"seed {seed}", seeds[seed]["against_levin"]) for seed in seeds),
                            ("all seeds", pooled["against_levin"])]
    ]  # fmt: skip
    return "\n".join(
        [
            "## Budgets\n",
            f"Recipe `arithmetic_budget` (400 steps). {result['num_problems']:,} test problems, "
            f"{result['num_samples']} samples each, seeds 0, 1, 2 pooled. A reply that overran its budget counts as "
            "right here when its answer is. A problem needs a budget when its shortest worked solution, two operations "
            "a step, fits into it and not into the rung beneath, and problems as long are answered without thinking "
            "less than 95 % of the time; use is the mean of thinking over the budget on those.\n",
            "The prompt asks, nothing is enforced:\n",
            table(header, rows_of("budget", "none", True)),
            "Enforced (hard), without thinking (0) and between the rungs too:\n",
            table(header, rows_of("budget", "hard", True)),
            "The model trained for accuracy alone, cut at the same bounds:\n",
            table(header, rows_of("accuracy", "hard", False)),
            "Without a bound:\n",
            table(["model", "accuracy, %", "tokens"], free),
            "Against `levin` (200 steps, no budgets) at the same mean tokens, by mixing two requests that the prompt "
            "makes:\n",
            table(["run", "tokens", "requests mixed", "accuracy difference, points"], against),
            note,
        ]
    )


def efforts_section() -> str:
    result, note = load("efforts")
    rows = []
    for place, cell in enumerate(result["pooled"]["effort"]):
        by_seed = [seed["effort"][place] for seed in result["seeds"].values()]
        rows.append(
            [cell["effort"], percent(cell["correct"]), f"{cell['tokens']['value']:.2f}",
             ", ".join(f"{100 * one['correct']['value']:.1f}" for one in by_seed),
             ", ".join(f"{one['tokens']['value']:.1f}" for one in by_seed)]
        )  # fmt: skip
    return "\n".join(
        [
            "## Efforts\n",
            "Recipe `arithmetic_effort`, the same problems and samples; each effort is asked for by its token alone.\n",
            table(["effort", "accuracy, %", "tokens", "accuracy by seed", "tokens by seed"], rows),
            note,
        ]
    )


def elasticity_section() -> str:
    result, note = load("arithmetic_elasticity")
    rows = [
        [
            str(row["time_elasticity"]),
            "all" if len(row["seeds"]) > 1 else str(row["seeds"][0]),
            interval(row, "accuracy", ".2f", 100),
            interval(row, "tokens_mean", ".2f"),
            interval(row, "accuracy_difference", "+.2f", 100),
            interval(row, "tokens_ratio", ".3f"),
        ]
        for row in result
    ]
    header = ["ε", "seed", "accuracy, %", "tokens", "accuracy difference to ε = 0, points", "ratio of tokens"]
    return "\n".join(
        [
            "## Elasticity\n",
            "`levin` at other elasticities, on the same test problems. ε = 0 is `accuracy`, with which each is "
            "compared by seed.\n",
            table(header, rows),
            note,
        ]
    )


def forms_section() -> str:
    result, note = load("arithmetic_forms")
    rows = [[row["form"], f"`{json.dumps(row['overrides'])}`", *measured("", row)[1:]] for row in result]
    return "\n".join(
        [
            "## Forms of levin and ways to keep exploring\n",
            "One seed, 1,000 validation problems, 8 samples each. Everything but what is named is as in the recipe.\n",
            table(["form", "changed", "accuracy, %", "tokens"], rows),
            note,
        ]
    )


def objectives_section(phase: str) -> str:
    result, note = load(f"objectives_{phase}")
    arms = [
        [
            row["label"],
            interval(row, "accuracy", ".2f", 100),
            interval(row, "tokens_mean", ".2f"),
            interval(row, "tokens_ratio", ".3f"),
            interval(row, "speedup_bits", "+.2f"),
            f"{row['collapses']} of {len(row['seeds'])}",
        ]
        for row in result["arms"]
    ]
    ranking = [
        [
            row["label"], interval(row, "hypervolume", ".4f"), interval(row, "tokens_at", ".2f"),
            "yes" if row["within"] else "no",
        ]
        for row in result["ranking"]
    ]  # fmt: skip
    point, style = result["reference_point"], result["base_best_style"]
    lines = [
        f"## {result['title']}\n",
        f"{result['num_problems']} {result['split']} problems of `{result['task']}`, {result['num_samples']} samples "
        f"each, {result['steps']} steps. Intervals of accuracy, tokens and the ranking are from a bootstrap over "
        "problems, and over seeds where there are several; those of ratio and speed-up over problems alone. Ratio of "
        "tokens and speed-up are against `accuracy`. A collapse: log p − 0.05 log T more than "
        f"{result['collapse_margin']} below {style['value']:.3f}, that of the start model's style {style['style']}.\n",
        table(["objective", "accuracy, %", "tokens", "ratio of tokens", "speed-up, bits", "collapses"], arms),
        f"![Accuracy against tokens](images/objectives_{phase}.png)\n",
        "Means, and each seed (small). Dashed: choosing the best style at each difficulty.\n"
        if len(result["arms"]) == len(result["ranking"])
        else "Each objective before all others (grey) and `accuracy` (square); its forms are hollow; what lies further "
        "down stands at the lower edge.\n",
        "Ranking: tokens at 1 point less than the accuracy of `accuracy`, on lines between an objective's points and "
        f"its; hypervolume beyond {point['tokens']:.1f} tokens and {100 * point['accuracy']:.1f} % (5 points below).\n",
        table(["objective, best strength", "hypervolume", "tokens at equal accuracy", "within 1 point"], ranking),
    ]
    if rivals := result["against_best_rival"]:
        lines.append(
            f"`levin` over the best rival: hypervolume {interval(rivals, 'hypervolume_ratio', '.3f')} "
            f"(`{rivals['hypervolume_rival']}`), tokens at equal accuracy "
            f"{interval(rivals, 'tokens_at_ratio', '.3f')} (`{rivals['tokens_at_rival']}`).\n"
        )
    if (choice := result["best_choice"])["tokens_at"] is not None:
        lines.append(
            "Taking the best style at each difficulty, as the runs that mostly use it perform it, "
            f"{choice['tokens_at']:.2f} tokens reach that accuracy.\n"
        )
    for failure in result["failures"]:
        lines.append(f"`{failure['run']}` failed: {failure['error']}\n")
    return "\n".join([*lines, note])


def price_section() -> str:
    result, note = load("price")
    prices = [
        [f"{row['elasticity']:g}", f"{row['against']:g}", ", ".join(map(str, row["seeds"])),
         interval(row, "tokens_ratio", ".3f"), "yes" if row["inverted"] else "no"]
        for row in result["prices"]
    ]  # fmt: skip
    stated = {"accuracy": "at most 1 point below `accuracy`", "cost": "at most 20 tokens, 1 for the prompt"}
    targets = [
        [stated[row["target"]], str(row["seed"]), f"{100 * row['accuracy']:.2f}", f"{row['tokens']:.2f}",
         f"{100 * row['lost']:+.2f}", f"{row['cost']:.2f}", "yes" if row["met"] else "no"]
        for row in result["targets"]
    ]  # fmt: skip
    found = result["collapses"]
    judged = {f"levin, elasticity 0.1, {seed}": row for seed, row in found["levin at twice its elasticity"].items()}
    rival = f"{found['rival']['objective']} {json.dumps(found['rival']['objective_kwargs'])}"
    judged |= {f"{rival}, {'with' if name == 'guarded' else 'without'} the guard": row
               for name, row in found["rival_runs"].items()}  # fmt: skip
    collapses = [
        [name, f"{100 * row['accuracy']:.2f}", f"{row['tokens']:.2f}", f"{row['value']:.3f}",
         "yes" if row["collapsed"] else "no"]
        for name, row in judged.items()
    ]  # fmt: skip
    return "\n".join(
        [
            "## What a price means\n",
            "2,000 test problems, 8 samples each. Each elasticity of `levin` against the one below it (0 is "
            "`accuracy`): the ratio of tokens, and whether it is above 1 beyond its interval.\n",
            table(["elasticity", "against", "seeds", "ratio of tokens", "inverted"], prices),
            "Stated targets, reached by dual control during training; the accuracy to keep to was that of `accuracy` "
            "on validation problems. Points lost and cost with every difficulty counting equally, as training draws "
            "them; distinct test problems have few short ones. Met: within 1 point more, or 5 % of the tokens. This "
            "way of judging was chosen after the first three of these results; by plain means no run to 20 tokens "
            "meets it.\n",
            table(["target", "seed", "accuracy, %", "tokens", "points lost", "cost, tokens", "met"], targets),
            f"Collapses: log p − 0.05 log T more than {found['margin']} below {found['value']:.3f}, that of the start "
            f"model's style {found['best_style']}.\n",
            table(["run", "accuracy, %", "tokens", "log p − 0.05 log T", "collapsed"], collapses),
            note,
        ]
    )


def baseline_section() -> str:
    result, note = load("arithmetic_baseline")
    rows = [
        [", ".join(map(str, row["seeds"])), *(interval(row[arm], name, form, scale) for arm in ("baseline", "levin")
         for name, form, scale in (("accuracy", ".2f", 100), ("tokens_mean", ".2f", 1))),
         interval(row["baseline"], "accuracy_difference", "+.2f", 100),
         interval(row["baseline"], "tokens_ratio", ".3f")]
        for row in result["rows"]
    ]  # fmt: skip
    left = ", ".join(f"{value:.3f}" for value in result["advantage_left"].values())
    norms = {arm: ", ".join(f"{value:.4f}" for name, value in result["grad_norm"].items() if name.startswith(arm))
             for arm in ("baseline", "levin")}  # fmt: skip
    header = ["seeds", "accuracy with it, %", "tokens", "without, %", "tokens", "difference, points", "ratio of tokens"]
    return "\n".join(
        [
            "## A baseline per token\n",
            "`levin` with `value_baseline` against `levin`, on the same test problems.\n",
            table(header, rows),
            f"What the baseline leaves of the advantages' squares, mean over the steps, by seed: {left}. Mean norm of "
            f"the gradient with it {norms['baseline']}, without {norms['levin']}. A head beside the policy without the "
            f"baseline {'changes no' if result['head_alone_changes_no_weight'] else 'changes the'} weights (seed 0).\n",
            note,
        ]
    )


def fit_cost_section() -> str:
    found, where = json.loads((RESULTS / "fit_cost.json").read_text()), "[results/fit_cost.json](results/fit_cost.json)"
    rows = [
        [str(row["prompt"]), str(row["decoded"]), f"{row['seconds']:.3f}", f"{row['predicted']:.3f}",
         f"{100 * row['relative_error']:.1f} %"]
        for row in found["held_out"]
    ]  # fmt: skip
    return "\n".join(
        [
            "## Seconds, fitted\n",
            f"`timecost fit-cost --model_name_or_path {found['model_name_or_path']}` on {found['hardware']}: R² "
            f"{found['r_squared']:.4f} on the lengths that it was fitted to. On others, seconds of the quietest "
            "round:\n",
            table(["prompt", "decoded", "seconds", "predicted", "error"], rows),
            f"Commit {commit_of(found['provenance']['commit'])}, {where}\n",
        ]
    )


def step_time_section() -> str:
    result, note = load("step_time")
    rows = [[name, f"{entry['median_ratio']:.3f}"] for name, entry in result.items()]
    return "\n".join(
        [
            "## Step time\n",
            "Time of a training step over that of TRL's `GRPOTrainer` on identical completions, paired; median.\n",
            table(["", "ratio"], rows),
            note,
        ]
    )


def render() -> str:
    sections = {
        "arithmetic_main": main_section,
        "arithmetic_bmojo": partial(main_section, "arithmetic_bmojo", "The same, from the embedded B'MOJO"),
        "arithmetic_elasticity": elasticity_section,
        "arithmetic_forms": forms_section,
        **{
            f"objectives_{phase}": partial(objectives_section, phase)
            for phase in ("screen", "final", "tune", "confirm", "harder")
        },
        "price": price_section,
        "arithmetic_baseline": baseline_section,
        "fit_cost": fit_cost_section,
        "budgets": budgets_section,
        "efforts": efforts_section,
        "step_time": step_time_section,
    }
    return "\n".join([INTRO, *(section() for name, section in sections.items() if (RESULTS / f"{name}.json").exists())])


def main() -> None:
    Path("docs/results.md").write_text(render())


if __name__ == "__main__":
    main()
