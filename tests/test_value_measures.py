"""Measures of a forecast, by hand."""

import numpy as np
import pytest

from timecost.value.measures import auroc, brier, calibration_error, concordant_pairs, reliability


def test_calibration_error_in_bins_of_equal_mass():
    forecast = np.array([0.1, 0.1, 0.9, 0.9])
    assert calibration_error(forecast, np.array([0, 0, 1, 1]), 2) == pytest.approx(0.1)
    assert calibration_error(forecast, np.array([1, 1, 0, 0]), 2) == pytest.approx(0.9)
    assert reliability(forecast, np.array([0, 0, 1, 1]), 2) == [(0.1, 0.0, 2), (0.9, 1.0, 2)]


def test_brier():
    assert brier(np.array([0.5, 1.0]), np.array([0, 1])) == pytest.approx(0.125)


def test_auroc_counts_a_tie_as_half():
    assert auroc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1])) == pytest.approx(3.5 / 4)
    assert np.isnan(auroc(np.array([0.1]), np.array([1])))


def test_pairs_within_groups_do_not_see_what_lies_between_them():
    score, right, group = np.array([0.1, 0.2, 0.8, 0.9]), np.array([1, 0, 1, 0]), np.array([0, 0, 5, 5])
    concordant, total = concordant_pairs(score, right, group)
    assert concordant.tolist() == [0, 0] and total.tolist() == [1, 1]
    assert auroc(score, right) == pytest.approx(1 / 4)


def test_pairs_agree_with_counting_them():
    rng = np.random.default_rng(0)
    score, right, group = rng.integers(0, 5, 60) / 5, rng.integers(0, 2, 60), rng.integers(0, 4, 60)
    concordant, total = concordant_pairs(score, right, group)
    for g in range(4):
        pairs = [(a, b) for a in score[(group == g) & (right == 1)] for b in score[(group == g) & (right == 0)]]
        assert total[g] == len(pairs) and concordant[g] == sum((a > b) + 0.5 * (a == b) for a, b in pairs)
