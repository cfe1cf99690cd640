"""Measures of a report, as functions of numpy arrays.

P problems are the unit of resampling: the samples of one problem share its difficulty, so an interval that resampled
completions one by one would be too narrow. Every interval is the 95 % percentile interval of a bootstrap over problems
(Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; why clusters: Miller, arXiv 2411.00640).
An `Estimate` that the data do not determine is NaN.
"""

from typing import NamedTuple

import numpy as np

NUM_RESAMPLES = 1000
LEVEL = 0.95


class Estimate(NamedTuple):
    """A value and the two ends of its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap_counts(num_problems: int, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each problem is drawn in each resample: integers (num_resamples, P) whose rows sum to P.

    The same arguments give the same resamples, so a difference of two measures can be taken resample by resample.
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(num_problems, size=(num_resamples, num_problems))
    draws += num_problems * np.arange(num_resamples)[:, None]
    return np.bincount(draws.ravel(), minlength=num_resamples * num_problems).reshape(num_resamples, num_problems)


def with_interval(value: float, resampled: np.ndarray) -> Estimate:
    """`value` and the percentile interval of its values under resampling (R,); NaN resamples are left out."""
    resampled = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or not len(resampled):
        return Estimate(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))


def ratio_of_sums(numerator: np.ndarray, denominator: np.ndarray, seed: int = 0) -> Estimate:
    """sum(numerator) / sum(denominator) over problems (P,), with its interval."""
    counts = bootstrap_counts(len(numerator), seed=seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        return with_interval(
            np.divide(np.sum(numerator), np.sum(denominator)), (counts @ numerator) / (counts @ denominator)
        )


def mean(values: np.ndarray, seed: int = 0) -> Estimate:
    """Mean over problems (P,), with its interval; NaN problems are left out."""
    known = np.isfinite(values)
    if not known.any():
        return Estimate(float("nan"), float("nan"), float("nan"))
    return ratio_of_sums(values[known].astype(float), np.ones(known.sum()), seed)


def accuracy(num_scored: np.ndarray, num_correct: np.ndarray, seed: int = 0) -> Estimate:
    """pass@1: the mean over problems of K/N, from N scored samples and K correct ones, each (P,).

    A problem that the verifier could not score (N = 0) is left out.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return mean(np.where(num_scored > 0, num_correct / num_scored, np.nan), seed)


def pass_at_k(num_scored: np.ndarray, num_correct: np.ndarray, k: int) -> float:
    """Mean over problems of the unbiased pass@k, 1 - C(N-K, k)/C(N, k) (Chen et al., arXiv 2107.03374, equation 1).

    `num_scored` (N) and `num_correct` (K) are (P,); problems with N < k are left out, NaN when none remains.
    """
    enough = num_scored >= k
    if not enough.any():
        return float("nan")
    n, c = num_scored[enough][:, None], num_correct[enough][:, None]
    i = np.arange(k)
    return float(np.mean(1 - np.prod(np.clip(n - c - i, 0, None) / (n - i), axis=1)))


def token_statistics(thinking: np.ndarray, answer: np.ndarray, status: np.ndarray) -> dict[str, float]:
    """Tokens per completion: mean, median, 95th percentile, the two parts, and the means of correct and wrong ones.

    `thinking` and `answer` are token counts (S,), `status` the verdicts (S,): "correct", "incorrect", "verifier_error".
    Completions that the verifier could not judge count in all but the last two.
    """
    tokens = thinking + answer

    def mean_of(rows):
        return float(np.mean(tokens[rows])) if rows.any() else float("nan")

    return {
        "tokens_mean": float(np.mean(tokens)),
        "thinking_tokens_mean": float(np.mean(thinking)),
        "answer_tokens_mean": float(np.mean(answer)),
        "tokens_p50": float(np.percentile(tokens, 50)),
        "tokens_p95": float(np.percentile(tokens, 95)),
        "tokens_correct_mean": mean_of(status == "correct"),
        "tokens_wrong_mean": mean_of(status == "incorrect"),
    }


def neg_log_success(num_scored: np.ndarray, num_correct: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Estimate of -ln p truncated at `order` from N samples of which K are correct; all (P,), order <= N.

    -ln p = sum over j >= 1 of (1-p)^j / j, and C(N-K, j)/C(N, j) estimates (1-p)^j without bias (arXiv 2107.03374), so
    the sum of the first `order` terms is unbiased too, and finite at K = 0. With order = N it is H_N - H_K, the
    difference of two harmonic numbers.
    """
    wrong = (num_scored - num_correct).astype(float)
    total, term = np.zeros(len(num_scored)), np.ones(len(num_scored))
    for j in range(1, int(order.max(initial=0)) + 1):
        active = j <= order
        term[active] *= np.clip(wrong - j + 1, 0, None)[active] / (num_scored - j + 1)[active]
        total[active] += term[active] / j
    return total


def speedup_bits(model: dict[str, np.ndarray], reference: dict[str, np.ndarray], seed: int = 0) -> dict[str, float]:
    """How much sooner the model reaches a verified answer than the reference, in bits: 1 bit is half the time.

    A sampler with a verifier finds its first verified answer after an expected time E[T]/p. Per problem, with N scored
    samples, K of them correct, and T the mean cost of a sample,

        bits = [(H_N - H_K)_reference - (H_N - H_K)_model] / ln 2 + log2(T_reference / T_model)

    with both -ln p truncated at the smaller N of the two. `model` and `reference` hold `num_scored`, `num_correct` and
    `cost_mean`, each (P,), on the same problems in the same order; problems without a scored sample are left out.

    Returns `speedup_bits` with its interval, the mean over problems; `speedup_bits_pooled`, log2 of the ratio of cost
    per verified answer over all problems together, with its interval; and `share_unsolved` and
    `share_unsolved_reference`, the shares of problems with K = 0, where the estimate is truncated hardest.
    """
    both = (model["num_scored"] > 0) & (reference["num_scored"] > 0)
    n, k, cost = (model[name][both] for name in ("num_scored", "num_correct", "cost_mean"))
    ref_n, ref_k, ref_cost = (reference[name][both] for name in ("num_scored", "num_correct", "cost_mean"))
    order = np.minimum(n, ref_n)
    log_p = (neg_log_success(ref_n, ref_k, order) - neg_log_success(n, k, order)) / np.log(2)
    bits = mean(log_p + np.log2(ref_cost) - np.log2(cost), seed)

    def log_ratio(total):
        """log2 of (cost / correct of the reference) / (the same of the model), from sums over problems."""
        return np.log2(total(ref_cost * ref_n) / total(ref_k) / (total(cost * n) / total(k)))

    counts = bootstrap_counts(max(1, int(both.sum())), seed=seed)[:, : int(both.sum())]
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = with_interval(log_ratio(np.sum), log_ratio(lambda values: counts @ values))
    return {
        **named("speedup_bits", bits),
        **named("speedup_bits_pooled", pooled),
        "share_unsolved": float(np.mean(k == 0)) if len(k) else float("nan"),
        "share_unsolved_reference": float(np.mean(ref_k == 0)) if len(ref_k) else float("nan"),
    }


def allocation_slope(difficulty: np.ndarray, tokens: np.ndarray, reference_tokens: np.ndarray, seed: int = 0):
    """How the share of tokens saved against a reference changes per unit of difficulty: an Estimate.

    At each difficulty d, saved(d) = 1 - (mean tokens of the model) / (mean tokens of the reference); the slope is that
    of the line through saved(d), by least squares weighted with the number of problems at d. Negative: the model saves
    where problems are easy. A model that only writes everything shorter has slope 0. All arguments are (P,): an
    integer, and the mean tokens per problem of model and reference. NaN with fewer than two difficulties.
    """
    levels, column = np.unique(difficulty, return_inverse=True)
    onehot = np.eye(len(levels))[column]  # (P, D)

    def slope(counts):  # (R, P) -> (R,)
        num = counts @ onehot
        with np.errstate(divide="ignore", invalid="ignore"):
            saved = 1 - (counts @ (onehot * tokens[:, None])) / (counts @ (onehot * reference_tokens[:, None]))
            saved = np.where(num > 0, saved, 0.0)
            weight = num / num.sum(1, keepdims=True)
            x = levels - (weight * levels).sum(1, keepdims=True)
            return (weight * x * saved).sum(1) / (weight * x**2).sum(1)

    if len(levels) < 2:
        return Estimate(float("nan"), float("nan"), float("nan"))
    return with_interval(slope(np.ones((1, len(tokens))))[0], slope(bootstrap_counts(len(tokens), seed=seed)))


def accuracy_difference(model: np.ndarray, reference: np.ndarray, seed: int = 0) -> Estimate:
    """Mean over problems of the paired difference of K/N, model minus reference, each (P,) with NaN where unscored."""
    return mean(model - reference, seed)


def token_ratio(tokens: np.ndarray, reference_tokens: np.ndarray, seed: int = 0) -> Estimate:
    """Mean tokens of the model over those of the reference on the same problems, from the means per problem (P,)."""
    return ratio_of_sums(tokens, reference_tokens, seed)


def best_mixture(
    styles: list[dict[str, tuple[float, float]]], weights: list[float] | None = None
) -> list[tuple[float, float]]:
    """The best that choosing a style for each difficulty could give: vertices `(tokens, accuracy)` of the frontier.

    `styles` holds, per difficulty, style -> (mean tokens, accuracy). `weights` are the shares of the difficulties among
    the problems, summing to 1 (default: equal). Mixing two styles moves along the line between them, so within a
    difficulty only the upper concave hull matters, and the frontier of the mean takes the hulls' segments in order of
    accuracy gained per token (the greedy solution of the continuous knapsack; Dantzig, Operations Research 5, 1957).
    """
    start, segments = [], []  # each (tokens, accuracy), as they add to the mean
    for cells, weight in zip(styles, weights or [1 / len(styles)] * len(styles), strict=True):
        hull: list[tuple[float, float]] = []
        for point in sorted(set(cells.values()), key=lambda point: (point[0], -point[1])):
            if hull and point[1] <= hull[-1][1]:
                continue
            while len(hull) > 1 and _gain(hull[-2], hull[-1]) <= _gain(hull[-1], point):
                hull.pop()
            hull.append(point)
        start.append(weight * np.array(hull[0]))
        segments += [weight * (np.array(b) - np.array(a)) for a, b in zip(hull, hull[1:], strict=False)]
    points = [np.sum(start, axis=0)]
    for segment in sorted(segments, key=lambda step: -step[1] / step[0]):
        points.append(points[-1] + segment)
    return [(float(tokens), float(acc)) for tokens, acc in points]


def _gain(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Accuracy gained per token from point a to point b."""
    return (b[1] - a[1]) / (b[0] - a[0])


def named(name: str, estimate: Estimate) -> dict[str, float]:
    """`{name: value, name_low: ..., name_high: ...}`, as a record holds it."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


# A sweep over budgets -------------------------------------------------------------------------------------------------


def frontier(tokens: np.ndarray, accuracy: np.ndarray) -> list[int]:
    """Indices of the points that no other beats, by rising tokens; both (B,), one point for each budget.

    A point is beaten by one that is at least as accurate with at most as many tokens, and better in one of the two
    (Pareto dominance). Of equal points the first stays.
    """
    best, kept = -np.inf, []
    for i in np.lexsort((-np.asarray(accuracy), tokens)):
        if accuracy[i] > best:
            kept.append(int(i))
            best = accuracy[i]
    return kept


def hypervolume(tokens: np.ndarray, accuracy: np.ndarray, max_tokens: float) -> float:
    """Area that a sweep dominates in [0, max_tokens] x [0, 1], as a share of it (Zitzler & Thiele, PPSN 1998).

    The reference point is accuracy 0 at `max_tokens`; points beyond it add nothing. Two sweeps need one `max_tokens`.
    """
    points = [(tokens[i], accuracy[i]) for i in frontier(tokens, accuracy) if tokens[i] < max_tokens]
    ends = [start for start, _ in points[1:]] + [max_tokens]
    return float(sum(acc * (end - start) for (start, acc), end in zip(points, ends, strict=False)) / max_tokens)


def tokens_at_accuracy(tokens: np.ndarray, accuracy: np.ndarray, target: float) -> float:
    """Mean tokens at which a sweep reaches `target`, on straight lines between neighbours of its frontier.

    A line is reached by mixing its two budgets. Below the first point its own tokens; NaN above the last one.
    """
    kept = frontier(tokens, accuracy)
    if not kept or target > accuracy[kept[-1]]:
        return float("nan")
    return float(np.interp(target, [accuracy[i] for i in kept], [tokens[i] for i in kept]))


def anytime_area(correct: np.ndarray, tokens: np.ndarray, horizon: float) -> np.ndarray:
    """Area under each sample's anytime curve up to `horizon` tokens, as a share of it: values in [0, 1], (S,).

    The curve is 0 until the answer stands after T tokens, then its correctness: c * max(0, 1 - T/horizon). The mean
    over samples is the area under the share solved within t tokens (Zilberstein, AI Magazine 17(3), 1996).
    """
    return np.asarray(correct, dtype=float) * np.clip(1 - np.asarray(tokens) / horizon, 0, None)


def adherence(thinking: np.ndarray, budget: np.ndarray, unbounded: np.ndarray) -> dict[str, float]:
    """How closely thinking keeps to its budget; samples (S,) of thinking tokens, budgets, and thinking without one.

    `adherence_error` is the mean of |used - budget| / budget where the budget binds, that is where it is below the mean
    thinking tokens on the same problem without a bound (`unbounded`): a problem that needs less than its budget is no
    miss. `over_rate` is the share of all samples above their budget, `overshoot_p95` the 95th percentile of
    max(0, used - budget) / budget. Budgets are positive.
    """
    off = (thinking - budget) / budget
    binds = budget < unbounded
    return {
        "adherence_error": float(np.mean(np.abs(off[binds]))) if binds.any() else float("nan"),
        "binding_rate": float(np.mean(binds)),
        "over_rate": float(np.mean(off > 0)),
        "overshoot_p95": float(np.percentile(np.clip(off, 0, None), 95)),
    }


def escape_rate(answer: np.ndarray, unbounded_answer: np.ndarray, quantile: float = 0.95) -> float:
    """Share of answers (S,), in tokens, longer than the `quantile` of answers given without a bound on thinking.

    Thinking that goes on behind its end makes the answer longer. Without any it is about 1 - quantile, not 0.
    """
    return float(np.mean(answer > np.quantile(unbounded_answer, quantile)))


def repeat_saving(first: np.ndarray, again: np.ndarray, seed: int = 0) -> Estimate:
    """1 - (tokens on a repeated question) / (tokens on the first time), paired over problems (P,)."""
    ratio = ratio_of_sums(again, first, seed)
    return Estimate(1 - ratio.value, 1 - ratio.high, 1 - ratio.low)
