r"""math_train: the train split of MATH (Hendrycks et al. 2021, arXiv 2103.03874); MATH-500 shares no problem with it.

    problem      Let \[f(x) = ... Find $a+b$ if the piecewise function is continuous ...
    answer       0
    difficulty   5

For training, with a part for validation; prompts and verdicts are those of `math500`. The file has 7,470 problems with
an answer and no solutions; the hub has solutions, and the answer is what their last box holds.
"""

import os

from timecost.tasks.data import VARIABLE, as_text, load_rows
from timecost.tasks.math500 import INSTRUCTION, POLICY
from timecost.tasks.word_problems import is_validation, word_problem_task

FILE, HUB = "math_train/train.json", ("DigitalLearningGmbH/MATH-lighteval", "default", "train")


def problems(split: str) -> list[dict]:
    """The problems of a split that have an answer: in a box it is the solution. The difficulty is 1 to 5, or None."""
    local = bool(os.environ.get(VARIABLE))
    found = []
    for row in load_rows(FILE, HUB, ("problem",) if local else ("problem", "solution")):
        answer = as_text(row.get("answer")) if local else last_box(row["solution"])
        if isinstance(answer, str) and answer.strip() and is_validation(row["problem"]) == (split == "validation"):
            answer = answer.strip()
            found.append({"question": row["problem"], "answer": answer, "solution": f"\\boxed{{{answer}}}",
                          "difficulty": level(row.get("difficulty" if local else "level"))})  # fmt: skip
    return found


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


MATH_TRAIN = word_problem_task("math_train", ("train", "validation"), problems, INSTRUCTION, 2048, POLICY)
