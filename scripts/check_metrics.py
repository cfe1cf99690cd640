"""Do the intervals and the speed-up keep what they promise? Simulated models whose truth is known.

    python scripts/check_metrics.py --output_path docs/results/evaluate_metrics.json

Coverage: the share of simulated evaluations whose 95 % interval holds the true value, problems being clusters of
samples that share a success probability. Bias: `speedup_bits` minus log2 of the true ratio of E[T]/p, at each p of the
model. The estimator is truncated at N samples, so what it can know of p is its expectation under that truncation,
sum over j <= N of (1-p)^j / j, and no more: beside each bias stand the bias that truncation alone gives, by that
formula, and the share of problems with K = 0. A p is `within_truncation` where truncation itself leaves less than the
0.1 bit that is promised; there the bias must be below it. Elsewhere the estimator must agree with its truncated
expectation, within 0.1 bit again. Exit code 1 when either is not so, or when an interval covers less than 93 % or more
than 97 %.
"""

import argparse
import sys

import numpy as np

from timecost.evaluation import metrics
from timecost.evaluation.results import write_json
from timecost.provenance import provenance

NUM_SAMPLES = 32
MAX_BIAS = 0.1  # bits
COVERAGE = (0.93, 0.97)
P_REFERENCE, T_REFERENCE, T_MODEL = 0.5, 200.0, 100.0


def coverage(num_problems: int, num_samples: int, repeats: int, rng: np.random.Generator) -> dict:
    """Share of repeats whose intervals hold the truth: of an accuracy, and of a paired difference of two."""
    held = np.zeros(2)
    for _ in range(repeats):
        p = rng.beta(1, 1, num_problems)  # mean 1/2
        better = p + 0.1 * (1 - p)  # mean 1/2 + 1/20
        k, other = rng.binomial(num_samples, better), rng.binomial(num_samples, p)
        seed = int(rng.integers(2**31))
        one = metrics.accuracy(np.full(num_problems, num_samples), k, seed)
        two = metrics.accuracy_difference(k / num_samples, other / num_samples, seed)
        held += [one.low <= 0.55 <= one.high, two.low <= 0.05 <= two.high]
    return {
        "num_problems": num_problems, "num_samples": num_samples, "repeats": repeats,
        "accuracy": held[0] / repeats, "accuracy_difference": held[1] / repeats,
    }  # fmt: skip


def bias(p: float, num_problems: int, rng: np.random.Generator) -> dict:
    """Bias in bits of `speedup_bits` at success probability p; costs are exponential plus the prompt's token."""

    def table(p, cost):
        costs = rng.exponential(cost - 1, (num_problems, NUM_SAMPLES)) + 1
        correct = rng.binomial(NUM_SAMPLES, p, num_problems)
        return {"num_scored": np.full(num_problems, NUM_SAMPLES), "num_correct": correct, "cost_mean": costs.mean(1)}

    result = metrics.speedup_bits(table(p, T_MODEL), table(P_REFERENCE, T_REFERENCE))
    truth = np.log2((T_REFERENCE / P_REFERENCE) / (T_MODEL / p))
    j = np.arange(1, NUM_SAMPLES + 1)

    def cut(p):  # what truncation leaves out of -log2 p
        return (-np.log(p) - np.sum((1 - p) ** j / j)) / np.log(2)

    truncated = truth + cut(p) - cut(P_REFERENCE)  # cut is positive: the model's -log2 p comes out too small
    bits = result["speedup_bits"]
    within = bool(abs(truncated - truth) < MAX_BIAS)
    return {
        "p": p, "num_problems": num_problems, "true_bits": truth, "truncated_bits": truncated, "bits": bits,
        "bias_bits": bits - truth, "truncation_bias_bits": truncated - truth,
        "bias_to_truncated_bits": bits - truncated,
        "half_interval_bits": (result["speedup_bits_high"] - result["speedup_bits_low"]) / 2,
        "share_unsolved": result["share_unsolved"], "share_unsolved_expected": (1 - p) ** NUM_SAMPLES,
        "within_truncation": within, "holds": bool(abs(bits - (truth if within else truncated)) < MAX_BIAS),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_path", required=True)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    covered = [coverage(problems, 8, args.repeats, rng) for problems in (50, 100, 300)]
    biases = [bias(p, 4000, rng) for p in (0.9, 0.5, 0.2, 0.1, 0.05, 0.02)]
    for one in covered + biases:
        print({key: value if isinstance(value, bool) else round(float(value), 4) for key, value in one.items()})
    holds = all(one["holds"] for one in biases) and all(
        COVERAGE[0] <= one[name] <= COVERAGE[1] for one in covered for name in ("accuracy", "accuracy_difference")
    )
    print("all hold" if holds else "NOT all hold")
    settings = {"seed": args.seed, "num_samples": NUM_SAMPLES, "max_bias_bits": MAX_BIAS, "holds": holds}
    write_json(args.output_path, {**settings, "coverage": covered, "speedup_bits": biases, "provenance": provenance()})
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
