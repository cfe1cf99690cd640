"""Measures the embedded base: share, accuracy and tokens of each style on each difficulty.

    python scripts/measure_base_styles.py

Writes tests/fixtures/arithmetic_base_styles.json, which tests/test_arithmetic_base.py holds the shipped model to.
Validation problems only; samples at temperature 1. Accuracy and tokens are those of complete traces (of the style's
most frequent length): about 15 % of the base's traces are closed early, a habit that training can end.
"""

import argparse
from pathlib import Path


def complete(cell: dict) -> dict[str, float]:
    return {
        "num_complete": cell["num_samples"],
        "accuracy": round(cell["accuracy"], 4),
        "tokens": round(cell["tokens_mean"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", default="arithmetic_base")
    parser.add_argument("--num_problems", type=int, default=900)
    parser.add_argument("--num_samples", type=int, default=16)
    parser.add_argument("--output_path", type=Path, default=Path("tests/fixtures/arithmetic_base_styles.json"))
    args = parser.parse_args()

    from timecost.evaluation.evaluate import evaluate
    from timecost.evaluation.results import write_json
    from timecost.provenance import provenance

    sampling = {"split": "validation", "num_problems": args.num_problems, "num_samples": args.num_samples, "seed": 0}
    record = evaluate(args.model_name_or_path, "arithmetic", **sampling)
    cells = {
        difficulty: {
            style: {"share": round(share, 4), **complete(record["by_style"][style][difficulty]["usual"])}
            for style, share in cell["styles"].items()
        }
        for difficulty, cell in record["by_difficulty"].items()
    }
    args.output_path.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.output_path, {"sampling": sampling, "styles": cells, "provenance": provenance()})
    print(f"wrote {args.output_path}")


if __name__ == "__main__":
    main()
