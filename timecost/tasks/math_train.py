r"""math_train: the train split of MATH (Hendrycks et al. 2021, arXiv 2103.03874); MATH-500 shares no problem with it.

    problem      Let \[f(x) = ... Find $a+b$ if the piecewise function is continuous ...
    answer       0
    difficulty   5

For training, with a part for validation; prompts and verdicts are those of `math500`. The file has 7,470 problems with
an answer and no solutions; the hub has solutions, and the answer is what their last box holds.
"""

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from timecost.tasks import Solution, Task, check_split, draw
from timecost.tasks.data import VARIABLE, as_text, load_rows
from timecost.tasks.math500 import POLICY, prompt
from timecost.verifiers.math import verify_math_batch

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "validation")
FILE, HUB = "math_train/train.json", ("DigitalLearningGmbH/MATH-lighteval", "default", "train")


def load(split: str, num_problems: int | None = None, seed: int = 0, conversational: bool = True) -> "Dataset":
    """A split with columns prompt, answer, difficulty (the level, 1 to 5, or None): see `timecost.tasks.Task.load`."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "prompt": prompt(row["problem"], conversational),
                "answer": row["answer"],
                "difficulty": row["difficulty"],
            }
            for row in draw(f"math_train {split}", _rows(split), num_problems, seed)
        ]
    )


def solutions(split: str) -> Iterator[Solution]:
    """The answer of every problem in a box."""
    for number, row in enumerate(_rows(split), start=1):
        yield Solution(f"row {number}", f"\\boxed{{{row['answer']}}}", row["answer"])


def last_box(solution: str) -> str:
    r"""What the last \boxed{...} or \fbox{...} of a solution holds, braces in it balanced; empty without one."""
    start = max(solution.rfind("\\boxed{"), solution.rfind("\\fbox{"))
    if start < 0:
        return ""
    start = solution.index("{", start) + 1
    depth = 1
    for end in range(start, len(solution)):
        depth += {"{": 1, "}": -1}.get(solution[end], 0) if solution[end - 1] != "\\" else 0
        if not depth:
            return solution[start:end].strip()
    return ""


def level(value) -> int | None:
    """5 from 5.0 and from "Level 5"; None for what is no level."""
    text = str(as_text(value)).removeprefix("Level ")
    return int(text) if text in ("1", "2", "3", "4", "5") else None


def is_validation(problem: str) -> bool:
    """Whether a problem is kept for validation: one in 15, by its hash."""
    return int.from_bytes(hashlib.sha256(problem.encode()).digest()[:4]) % 15 == 0


def _rows(split: str) -> list[dict]:
    """The problems of a split that have an answer."""
    check_split("math_train", split, SPLITS)
    local = bool(os.environ.get(VARIABLE))
    rows = []
    for row in load_rows(FILE, HUB, ("problem",) if local else ("problem", "solution")):
        answer = as_text(row.get("answer")) if local else last_box(row["solution"])
        if isinstance(answer, str) and answer.strip() and is_validation(row["problem"]) == (split == "validation"):
            difficulty = level(row.get("difficulty" if local else "level"))
            rows.append({"problem": row["problem"], "answer": answer.strip(), "difficulty": difficulty})
    return rows


MATH_TRAIN = Task(
    name="math_train",
    load=load,
    verify=partial(verify_math_batch, policy=POLICY),
    max_completion_length=2048,
    splits=SPLITS,
    solutions=solutions,
)
