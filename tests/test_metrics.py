"""Each measure against values worked out by hand."""

from math import comb, log, log2

import numpy as np
import pytest

from timecost.evaluation import metrics


def test_bootstrap_counts_draw_each_resample_from_all_problems():
    counts = metrics.bootstrap_counts(5, num_resamples=200, seed=1)
    assert counts.shape == (200, 5)
    assert (counts.sum(1) == 5).all()
    assert counts.mean(0) == pytest.approx(np.ones(5), abs=0.2)
    assert (counts == metrics.bootstrap_counts(5, num_resamples=200, seed=1)).all()
    assert (counts != metrics.bootstrap_counts(5, num_resamples=200, seed=2)).any()


def test_interval_has_the_width_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(3.0, 2.0, 1000)
    value, low, high = metrics.mean(values)
    half = 1.96 * values.std() / np.sqrt(1000)
    assert value == pytest.approx(values.mean())
    assert [value - low, high - value] == pytest.approx([half, half], rel=0.1)


def test_interval_is_clustered_by_problem():
    """Ten problems of ten equal samples say as much as ten samples: the interval does not shrink."""
    correct = np.array([0, 1] * 5)
    once = metrics.accuracy(np.ones(10), correct)
    tenfold = metrics.accuracy(np.full(10, 10), 10 * correct)
    assert tenfold == once
    assert once.high - once.low > 0.4


def test_accuracy_leaves_out_what_the_verifier_could_not_score():
    assert metrics.accuracy(np.array([4, 2, 0]), np.array([1, 2, 0])).value == pytest.approx((0.25 + 1) / 2)
    assert np.isnan(metrics.accuracy(np.array([0]), np.array([0])).value)


def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample():
    n, c = np.array([5, 5, 2]), np.array([2, 0, 1])
    assert metrics.pass_at_k(n, c, 1) == pytest.approx((2 / 5 + 0 + 1 / 2) / 3)
    assert metrics.pass_at_k(n, c, 3) == pytest.approx(((1 - comb(3, 3) / comb(5, 3)) + 0) / 2)  # 2 samples: left out
    assert np.isnan(metrics.pass_at_k(n, c, 6))


def test_token_statistics():
    status = np.array(["correct", "correct", "incorrect", "verifier_error"])
    stats = metrics.token_statistics(np.array([0, 4, 10, 100]), np.array([3, 3, 2, 2]), status)
    assert stats["tokens_mean"] == pytest.approx((3 + 7 + 12 + 102) / 4)
    assert stats["thinking_tokens_mean"] == pytest.approx(28.5)
    assert stats["answer_tokens_mean"] == pytest.approx(2.5)
    assert stats["tokens_p50"] == pytest.approx(9.5)
    assert stats["tokens_p95"] == pytest.approx(12 + 0.85 * 90)
    assert (stats["tokens_correct_mean"], stats["tokens_wrong_mean"]) == (5.0, 12.0)


def harmonic(n):
    return sum(1 / i for i in range(1, n + 1))


def test_neg_log_success_is_a_difference_of_harmonic_numbers():
    n, k = np.array([8, 8, 8, 5]), np.array([8, 3, 0, 2])
    expected = [0, harmonic(8) - harmonic(3), harmonic(8), harmonic(5) - harmonic(2)]
    assert metrics.neg_log_success(n, k, order=n) == pytest.approx(expected)


def test_neg_log_success_is_unbiased_for_the_truncated_logarithm():
    p, n, order = 0.3, 10, 4
    k = np.arange(n + 1)
    probability = np.array([comb(n, i) * p**i * (1 - p) ** (n - i) for i in k])
    estimate = metrics.neg_log_success(np.full(n + 1, n), k, np.full(n + 1, order))
    truncated = sum((1 - p) ** j / j for j in range(1, order + 1))
    assert probability @ estimate == pytest.approx(truncated)
    assert truncated < -log(p)


def test_speedup_bits():
    """Problem 1: half the cost at equal success. Problem 2: equal cost, 4 of 4 right where the reference has 2."""
    model = {"num_scored": [4, 4], "num_correct": [4, 4], "cost_mean": [10.0, 20.0]}
    reference = {"num_scored": [4, 4], "num_correct": [4, 2], "cost_mean": [20.0, 20.0]}
    arrays = [{name: np.array(values) for name, values in table.items()} for table in (model, reference)]
    result = metrics.speedup_bits(*arrays)
    second = (1 / 3 + 1 / 4) / log(2)
    assert result["speedup_bits"] == pytest.approx((1 + second) / 2)
    low, high = result["speedup_bits_low"], result["speedup_bits_high"]
    assert (low, high) == pytest.approx((min(1, second), max(1, second)))
    assert result["speedup_bits_pooled"] == pytest.approx(log2((160 / 6) / (120 / 8)))
    assert (result["share_unsolved"], result["share_unsolved_reference"]) == (0, 0)
    back = metrics.speedup_bits(*arrays[::-1])
    assert back["speedup_bits"] == pytest.approx(-result["speedup_bits"])


def test_speedup_bits_of_unsolved_and_unscored_problems():
    model = {"num_scored": np.array([4, 0]), "num_correct": np.array([0, 0]), "cost_mean": np.array([8.0, np.nan])}
    reference = {"num_scored": np.array([2, 2]), "num_correct": np.array([2, 0]), "cost_mean": np.array([8.0, 8.0])}
    result = metrics.speedup_bits(model, reference)
    assert result["speedup_bits"] == pytest.approx(-harmonic(2) / log(2))  # both truncated at the smaller N
    assert result["share_unsolved"] == 1
    assert np.isnan(result["speedup_bits_pooled"])  # no verified answer at any cost


def test_allocation_slope():
    difficulty = np.array([2, 2, 4, 6])
    reference = np.array([10.0, 10.0, 20.0, 30.0])
    easy_only = np.array([4.0, 6.0, 15.0, 30.0])  # saved: 50 %, 25 %, 0 %
    assert metrics.allocation_slope(difficulty, easy_only, reference).value == pytest.approx(-0.125)
    shorter = metrics.allocation_slope(difficulty, 0.7 * reference, reference)
    assert shorter.value == pytest.approx(0)
    assert np.isnan(metrics.allocation_slope(np.full(3, 2), np.ones(3), np.ones(3)).value)


def test_allocation_slope_weighs_difficulties_by_problems():
    """Three points that are no line: the middle one counts twice."""
    difficulty, reference = np.array([1, 2, 2, 3]), np.full(4, 10.0)
    saved = np.array([0.5, 0.1, 0.1, 0.0])
    expected = np.polyfit(difficulty, saved, 1)[0]
    assert metrics.allocation_slope(difficulty, 10 * (1 - saved), reference).value == pytest.approx(expected)


def test_paired_differences_are_tighter_than_unpaired_ones():
    rng = np.random.default_rng(0)
    reference = rng.uniform(0, 1, 300)
    model = np.clip(reference + rng.normal(0.05, 0.02, 300), 0, 1)
    difference = metrics.accuracy_difference(model, reference)
    assert difference.value == pytest.approx(np.mean(model - reference))
    assert difference.high - difference.low < 0.01 < metrics.mean(model).high - metrics.mean(model).low
    ratio = metrics.token_ratio(np.array([5.0, 10.0]), np.array([10.0, 20.0]))
    assert ratio == (0.5, 0.5, 0.5)


def test_best_mixture_takes_the_cheapest_accuracy_first():
    easy = {"direct": (3, 0.9), "steps": (9, 1.0), "slow": (12, 0.95)}
    hard = {"direct": (3, 0.2), "half": (23, 0.5), "steps": (33, 1.0)}  # half lies below the line of the other two
    points = metrics.best_mixture([easy, hard])
    assert np.array(points) == pytest.approx(np.array([(3, 0.55), (18, 0.95), (21, 1.0)]))
    weighted = metrics.best_mixture([easy, hard], [0.9, 0.1])  # the same order, other shares of the problems
    assert np.array(weighted) == pytest.approx(np.array([(3, 0.83), (6, 0.91), (11.4, 1.0)]))


TOKENS, ACCURACY = (
    np.array([30.0, 10.0, 20.0, 40.0]),
    np.array([0.5, 0.4, 0.6, 0.8]),
)  # (30, 0.5) is beaten by (20, 0.6)


def test_frontier_leaves_out_what_another_point_beats():
    assert metrics.frontier(TOKENS, ACCURACY) == [1, 2, 3]
    assert metrics.frontier(np.array([5.0, 5.0, 5.0]), np.array([0.2, 0.3, 0.3])) == [1]


def test_hypervolume_is_the_area_under_the_steps():
    assert metrics.hypervolume(TOKENS, ACCURACY, 50) == pytest.approx((10 * 0.4 + 20 * 0.6 + 10 * 0.8) / 50)
    assert metrics.hypervolume(TOKENS, ACCURACY, 40) == pytest.approx((10 * 0.4 + 20 * 0.6) / 40)
    assert metrics.hypervolume(TOKENS, ACCURACY, 10) == 0


def test_tokens_at_accuracy():
    assert metrics.tokens_at_accuracy(TOKENS, ACCURACY, 0.7) == pytest.approx(30)
    assert metrics.tokens_at_accuracy(TOKENS, ACCURACY, 0.1) == 10
    assert np.isnan(metrics.tokens_at_accuracy(TOKENS, ACCURACY, 0.9))


def test_anytime_area_is_the_integral_of_the_share_solved():
    correct, tokens = np.array([1, 0, 1, 1]), np.array([10, 10, 50, 200])
    assert metrics.anytime_area(correct, tokens, 100) == pytest.approx([0.9, 0, 0.5, 0])
    solved = [np.mean(correct * (tokens <= t)) for t in range(100)]
    assert np.mean(solved) == pytest.approx(metrics.anytime_area(correct, tokens, 100).mean())


def test_adherence_counts_only_budgets_that_bind():
    result = metrics.adherence(np.array([8.0, 12.0, 5.0, 20.0]), np.full(4, 10.0), np.array([30.0, 30.0, 5.0, 30.0]))
    assert result["adherence_error"] == pytest.approx((0.2 + 0.2 + 1.0) / 3)
    assert (result["binding_rate"], result["over_rate"]) == (0.75, 0.5)
    assert result["overshoot_p95"] == pytest.approx(0.2 + 0.85 * 0.8)


def test_escape_rate_against_answers_without_a_bound():
    unbounded = np.arange(1, 101)  # 95th percentile: 95.05
    assert metrics.escape_rate(unbounded, unbounded) == 0.05
    assert metrics.escape_rate(np.array([5, 96, 400, 7]), unbounded) == 0.5


def test_repeat_saving_is_paired():
    saving = metrics.repeat_saving(np.array([10.0, 20.0]), np.array([5.0, 10.0]))
    assert saving == (0.5, 0.5, 0.5)
    some = metrics.repeat_saving(np.array([10.0, 20.0, 30.0]), np.array([5.0, 20.0, 15.0]))
    assert some.value == pytest.approx(1 - 40 / 60)
    assert some.low < some.value < some.high
