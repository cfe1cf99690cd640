"""What the samples of trained models say: accuracy and tokens, styles, whether a run has collapsed, the frontier.

Points are (tokens, accuracy) throughout, means over problems; a sample whose task knows no styles is of style `all`.
"""

from collections import defaultdict
from math import log

import numpy as np

from timecost.evaluation import metrics
from timecost.evaluation.records import PROMPT_COST, problem_key, problem_table

POINT = 0.01  # of accuracy, that may be given for time
ELASTICITY, MARGIN = 0.05, 0.1  # of the value log p - ELASTICITY * E[log T] that tells a collapse, in nats


def table_of(rows: list[dict], keys: list[str]) -> dict:
    """Per problem (P,): correct share, mean tokens, and the mean log cost, of one run."""
    table = problem_table(rows, keys)
    position = {key: i for i, key in enumerate(keys)}
    logs = np.zeros(len(keys))
    for row in rows:
        logs[position[problem_key(row)]] += np.log(tokens_of(row) + PROMPT_COST)
    scored = np.maximum(table["num_scored"], 1)
    return {
        "accuracy": table["num_correct"] / scored, "tokens": table["tokens_mean"],
        "log_cost": logs / table["num_samples"],
    }  # fmt: skip


def tokens_of(row: dict) -> int:
    return row["thinking_tokens"] + row["answer_tokens"]


# Styles ---------------------------------------------------------------------------------------------------------------


def by_style(rows: list[dict]) -> dict[int, dict[str, list[dict]]]:
    """Difficulty -> style -> its completions."""
    out = defaultdict(lambda: defaultdict(list))
    for row in rows:
        out[row["difficulty"]][row.get("style", "all")].append(row)
    return out


def styles_of(rows: list[dict]) -> tuple[dict, dict]:
    """Difficulty -> style -> its share of the completions, and the same of how many of its are right; from 1 % on."""
    shares, right = {}, {}
    for difficulty, styles in sorted(by_style(rows).items()):
        total = sum(map(len, styles.values()))
        often = sorted((item for item in styles.items() if len(item[1]) >= total / 100), key=lambda item: -len(item[1]))
        shares[str(difficulty)] = {style: round(len(here) / total, 3) for style, here in often}
        right[str(difficulty)] = {
            style: round(sum(row["status"] == "correct" for row in here) / len(here), 4) for style, here in often
        }
    return shares, right


def best_choice(runs: list[list[dict]], min_completions: int = 100) -> list[tuple[float, float]]:
    """Frontier (tokens, accuracy) of taking the best style at each difficulty, as the trained models perform them.

    What a style takes and reaches is pooled over the runs that use it for most of a difficulty's completions: they
    chose it and practised it. An objective gets below this only by making a style more accurate than others do. Empty
    where a difficulty has no style that some run uses for most of it.
    """
    pooled = defaultdict(lambda: defaultdict(list))  # difficulty -> style -> (tokens, correct) of completions
    totals = defaultdict(int)
    for rows in runs:
        for difficulty, styles in by_style(rows).items():
            total = sum(map(len, styles.values()))
            totals[difficulty] += total
            for style, here in styles.items():
                if 2 * len(here) > total:
                    pooled[difficulty][style] += [(tokens_of(row), row["status"] == "correct") for row in here]
    means = [
        {style: tuple(sum(column) / len(points) for column in zip(*points, strict=True))
         for style, points in pooled[difficulty].items() if len(points) >= min_completions}
        for difficulty in totals
    ]  # fmt: skip
    weights = [total / sum(totals.values()) for total in totals.values()]
    return metrics.best_mixture(means, weights) if all(means) else []


# Collapse -------------------------------------------------------------------------------------------------------------


def value(accuracy: float, log_cost: float) -> float:
    """log p - ELASTICITY * E[log T], nats; the common measure by which a collapse is told."""
    return log(max(accuracy, 1e-3)) - ELASTICITY * log_cost


def best_style(rows: list[dict]) -> tuple[str, float]:
    """The best value that one style of the start model reaches, from the completions that happen to use it."""
    styles = defaultdict(list)
    for row in rows:
        styles[row.get("style", "all")].append((row["status"] == "correct", np.log(tokens_of(row) + PROMPT_COST)))
    known = {name: cells for name, cells in styles.items() if len(cells) >= 30}
    known = known or {"all": [cell for cells in styles.values() for cell in cells]}  # too few to tell styles apart
    values = {name: value(*np.mean(cells, axis=0)) for name, cells in known.items()}
    best = max(values, key=values.get)
    return best, values[best]


# Frontier -------------------------------------------------------------------------------------------------------------


class Resamples:
    """Bootstrap over problems, and over the seeds of each arm where there are several."""

    def __init__(self, num_problems: int, num_resamples: int = metrics.NUM_RESAMPLES):
        self.problems = metrics.bootstrap_counts(num_problems, num_resamples) / num_problems  # (R, P)
        self.rng = np.random.default_rng(1)

    def points(self, tables: list[dict]) -> tuple[np.ndarray, np.ndarray]:
        """(tokens, accuracy) of an arm from the tables of its seeds: (2,), and (R, 2) under resampling."""
        stacked = [np.stack([table[name] for table in tables]) for name in ("tokens", "accuracy")]  # (S, P)
        seeds = self.rng.multinomial(len(tables), [1 / len(tables)] * len(tables), len(self.problems)) / len(tables)
        drawn = [np.einsum("rp,sp,rs->r", self.problems, values, seeds, optimize=True) for values in stacked]
        return np.array([values.mean() for values in stacked]), np.stack(drawn, 1)


def hypervolume(points, baseline, max_tokens: float, floor: float) -> float:
    """Of an arm's points and the baseline's, beyond (max_tokens, floor), as a share of what there is."""
    tokens, accuracy = np.array([*points, baseline]).T
    return metrics.hypervolume(tokens, np.clip((accuracy - floor) / (1 - floor), 0, None), max_tokens)


def tokens_at(points, baseline) -> float:
    """Mean tokens at (baseline's accuracy - 1 point), on lines between an arm's points and the baseline's.

    Never more than the baseline takes, and never NaN: it is one of the points.
    """
    tokens, accuracy = np.array([*points, baseline]).T
    return metrics.tokens_at_accuracy(tokens, accuracy, baseline[1] - POINT)
