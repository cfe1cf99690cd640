"""A harder family for the embedded model: the longest expressions, each with a combination it was never trained on.

8 to 10 operands, with at least one of the neighbouring operations that `arithmetic` holds out of all training. The
embedded base makes more slips there, in every style, so that accuracy has to be learned and checking can pay. The
expressions themselves are split into train, validation and test by a hash.
"""

import random

from timecost.tasks import Task, arithmetic

DIFFICULTIES = range(8, 11)
COUNTS = {"train": 20_000, "validation": 300, "test": 2_000}


def split_of(problem: arithmetic.Problem) -> str:
    """train (60 %), validation or test (20 % each), by a hash of the expression."""
    bucket = arithmetic.bucket("hard " + problem.expression)
    return next(split for split, buckets in arithmetic.SPLITS.items() if bucket in buckets)


def problems(split: str, num_problems: int, seed: int = 0) -> list[arithmetic.Problem]:
    """`num_problems` different ones of a split, in equal parts over the difficulties; a function of the arguments."""
    rng = random.Random(f"arithmetic_hard {split} {seed}")
    found: dict[arithmetic.Problem, None] = {}
    while len(found) < num_problems:
        problem = arithmetic.sample_problem(rng, DIFFICULTIES[len(found) % len(DIFFICULTIES)])
        if arithmetic.is_held_out(problem) and split_of(problem) == split:
            found[problem] = None
    return list(found)


def load(split: str, num_problems: int | None = None, seed: int = 0, conversational: bool = True):
    """A split with columns prompt, answer, difficulty: see `timecost.tasks.Task.load`."""
    count = arithmetic.count_of("arithmetic_hard", COUNTS, split, num_problems)
    return arithmetic.as_dataset(problems(split, count, seed))


def solutions(split: str):
    count = arithmetic.count_of("arithmetic_hard", COUNTS, split, None)
    return arithmetic.solutions_of(problems(split, count), split)


TASK = Task(
    name="arithmetic_hard",
    load=load,
    verify=arithmetic.verify_all,
    max_completion_length=arithmetic.MAX_COMPLETION_LENGTH,
    style_of=arithmetic.style_of,
    styles=arithmetic.STYLES,
    think_end=arithmetic.THINK_END,
    splits=tuple(COUNTS),
    solutions=solutions,
)
