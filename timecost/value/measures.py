"""Measures of a forecast against outcomes; the problem is the unit of every interval."""

import numpy as np


def calibration_error(forecast: np.ndarray, outcome: np.ndarray, num_bins: int = 15) -> float:
    """ECE in bins of equal mass: the mean over bins of |mean forecast - mean outcome|, weighted by points."""
    bins = np.array_split(np.argsort(forecast, kind="stable"), num_bins)
    return float(sum(abs(forecast[b].sum() - outcome[b].sum()) for b in bins) / len(forecast))


def reliability(forecast: np.ndarray, outcome: np.ndarray, num_bins: int = 15) -> list[tuple[float, float, int]]:
    """(mean forecast, mean outcome, points) of each bin of equal mass."""
    bins = np.array_split(np.argsort(forecast, kind="stable"), num_bins)
    return [(float(forecast[b].mean()), float(outcome[b].mean()), len(b)) for b in bins if len(b)]


def brier(forecast: np.ndarray, outcome: np.ndarray) -> float:
    """Mean squared error of the forecast."""
    return float(np.mean((forecast - outcome) ** 2))


def concordant_pairs(score: np.ndarray, outcome: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a right and a wrong point of the same group: those that the score orders, half for a tie, and all.

    Both (G,), in the order of np.unique(group). The sum of the first over that of all is the AUROC within groups.
    """
    _, group = np.unique(group, return_inverse=True)
    order = np.lexsort((score, group))
    group, score, right = group[order], score[order], outcome[order] > 0.5
    num_groups = group[-1] + 1
    new_value = np.ones(len(group), bool)
    new_value[1:] = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
    value = np.cumsum(new_value) - 1
    rights, wrongs = (np.bincount(value, weights=w, minlength=value[-1] + 1) for w in (right, ~right))
    of = group[new_value]
    below = np.cumsum(wrongs) - wrongs
    first = np.searchsorted(of, np.arange(num_groups))
    below -= below[first][of]
    concordant = np.bincount(of, weights=rights * (below + wrongs / 2), minlength=num_groups)
    total = np.bincount(group, weights=right) * np.bincount(group, weights=~right)
    return concordant, total


def auroc(score: np.ndarray, outcome: np.ndarray) -> float:
    """Chance that a right point scores above a wrong one."""
    concordant, total = concordant_pairs(score, outcome, np.zeros(len(score)))
    return float(concordant.sum() / total.sum()) if total.sum() else float("nan")
