"""Writes docs/bmojo_results.md from what scripts/bench_bmojo.py measured, so that no number is typed by hand.

python scripts/render_bmojo.py
"""

import json
import statistics
from pathlib import Path

from render_results import RESULTS, load, table

INTRO = """# B'MOJO, measured

Written by `scripts/render_bmojo.py` from the JSON files in [results/](results/), which hold versions, commit and
machine. What the layer is: [bmojo.md](bmojo.md).
"""


def mqar_section() -> str:
    result, note = load("bmojo_mqar")
    forms = {}
    for row in result["summary"]:
        setting = dict(row["setting"])
        size = setting.pop("eidetic_size")
        forms.setdefault(json.dumps(setting), []).append((size, row))
    parts = [
        "## Recall (MQAR)\n",
        "Keys and values, then each key again; the model must name its value. Models of one table have about as many "
        "parameters without embeddings, the same learning rates (every rate with the first seed, then the best), steps "
        "and data. `beyond` is the share of the queries whose value lies beyond the window, `held` the share of these "
        "that the set of the first layer holds. Mamba-2 has two layers wherever the others have one. Finished runs are "
        "read from a ledger: some are older than the commit named below.\n",
    ]
    for form, rows in forms.items():
        setting = json.loads(form)
        lines = []
        for size, row in rows:
            where = row["needed"][0] if row["needed"] else {}
            held = [needed["held"][0] for needed in row["needed"]]
            lines.append(
                [
                    row["model"], str(size) if held else "0", f"{row['mean_accuracy']:.3f}",
                    ", ".join(f"{value:.3f}" for value in row["accuracies"]), f"{row['rate']:g}",
                    str(row["mixing_parameters"]), f"{statistics.mean(held):.3f}" if held else "",
                    f"{where['beyond']:.2f}" if where else "",
                ]
            )  # fmt: skip
        header = ["model", "kept tokens", "accuracy", "by seed", "rate", "parameters", "held", "beyond"]
        parts += [
            f"{setting['length']} tokens, {setting['pairs']} pairs, window {setting['window']}, {setting['gaps']} "
            f"distances, {setting['filler']} filler, vocabulary {setting['vocabulary']}, {setting['layers']} layer(s), "
            f"at most {setting['steps']} steps of {setting['batch_size']} sequences.\n",
            table(header, lines),
        ]
    return "\n".join([*parts, note])


def speed_section() -> str:
    result, note = load("bmojo_speed")
    rows = [
        [name, f"{result['parameters'][name] / 1e6:.1f} M", f"{statistics.median(values):.0f}"]
        for name, values in result["tokens_per_second"].items()
    ]
    ratios = ", ".join(f"{name} {value:.2f}" for name, value in result["median_ratio"].items())
    header = ["model", "parameters", "training tokens/s"]
    about = f"Forward and backward pass, {result['length']} tokens, batch {result['batch_size']}; in turns, medians.\n"
    return "\n".join(["## Training\n", about, table(header, rows), f"Paired ratios: {ratios}.\n", note])


def decode_section() -> str:
    result, note = load("bmojo_decode")
    rows = [
        [context, *(f"{statistics.median(entry['ms_per_token'][name]):.1f}" for name in ("bmojo", "llama")),
         f"{entry['median_ratio_bmojo_llama']:.2f}"]
        for context, entry in result["contexts"].items()
    ]  # fmt: skip
    size = ", ".join(f"{name} {count / 1e6:.1f} M" for name, count in result["parameters"].items())
    about = f"One token at a time, batch 1, Llama on a preallocated cache; parameters: {size}.\n"
    return "\n".join(["## Decoding\n", about, table(["context", "B'MOJO, ms", "Llama, ms", "ratio"], rows), note])


def bytes_section() -> str:
    result, note = load("bmojo_bytes")
    rows = [
        [context, f"{entry['bmojo']:,}", f"{entry['full_attention']:,}"] for context, entry in result["bytes"].items()
    ]
    return "\n".join(["## Bytes of the cache\n", table(["context", "B'MOJO", "full attention"], rows), note])


def swaps_section() -> str:
    result, note = load("bmojo_swaps")
    rows = [
        [dtype, name.replace("_", " "), f"{entry['tokens_kept']:,}", f"{100 * entry['share_swapped']:.3f} %",
         f"{100 * entry['rows_without_a_swap']:.0f} %",
         "" if (d := entry["max_logit_distance_without_a_swap"]) is None else f"{d:.1e}",
         f"{entry['max_logit_distance']:.1e}"]
        for dtype, forms in result.items() for name, entry in forms.items()
    ]  # fmt: skip
    header = ["type", "compared", "tokens kept", "swapped", "sequences without a swap", "largest difference of their "
              "logits", "of all logits"]  # fmt: skip
    about = "Whether two forms of the same computation keep the same tokens; untrained weights of a large spread.\n"
    return "\n".join(["## Swaps\n", about, table(header, rows), note])


def rollout_section() -> str:
    result, note = load("bmojo_rollout")
    rows = [
        [name, dtype, f"{entry['tokens']:,}", f"{entry['max']:.1e}", f"{entry['mean']:.1e}"]
        for name, types in result.items() for dtype, entry in types.items()
    ]  # fmt: skip
    about = "|log p| of sampled tokens with a cache, against that of one forward pass.\n"
    return "\n".join(["## Roll-outs\n", about, table(["model", "type", "tokens", "largest", "mean"], rows), note])


SECTIONS = {"mqar": mqar_section, "speed": speed_section, "decode": decode_section, "bytes": bytes_section,
            "swaps": swaps_section, "rollout": rollout_section}  # fmt: skip


def render() -> str:
    found = [section() for name, section in SECTIONS.items() if (RESULTS / f"bmojo_{name}.json").exists()]
    return "\n".join([INTRO, *found])


def main() -> None:
    Path("docs/bmojo_results.md").write_text(render())


if __name__ == "__main__":
    main()
