r"""MATH-500: 500 problems of the test split of MATH (Hendrycks et al. 2021, arXiv 2103.03874), the split of Lightman et
al. 2023 (arXiv 2305.20050).

    problem    What is the smallest positive perfect cube that can be written as the sum of three consecutive integers?
    solution   The sum of three consecutive integers takes the form $(k-1)+(k)+(k+1)=3k$ ... is $\boxed{27}$.
    answer     27
    level      2

For evaluation alone: it has one split, `test`.
"""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from timecost.errors import UserError
from timecost.tasks import Solution, Task, check_split, draw
from timecost.tasks.data import load_rows
from timecost.verifiers.math import MathPolicy, verify_math_batch

if TYPE_CHECKING:
    from datasets import Dataset

INSTRUCTION = "Solve the problem. Put the final answer in \\boxed{}."
# The answers leave out the sign of percent. The gold solutions go on after their box, some for 1,900 characters.
POLICY = MathPolicy(answer_in="box", percent="sign_optional", max_tail_box=None)


def load(split: str, num_problems: int | None = None, seed: int = 0, conversational: bool = True) -> "Dataset":
    """The split with columns prompt, answer, difficulty (the level, 1 to 5): see `timecost.tasks.Task.load`."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "prompt": prompt(row["problem"], conversational),
                "answer": row["answer"],
                "difficulty": int(row["level"]),
            }
            for row in draw(f"math500 {split}", _rows(split), num_problems, seed)
        ]
    )


def prompt(problem: str, conversational: bool) -> list[dict] | str:
    """One user message for a chat template, or plain text for a model without one."""
    if conversational:
        return [{"role": "user", "content": f"{problem}\n\n{INSTRUCTION}"}]
    return f"{INSTRUCTION}\n\nProblem: {problem}\nSolution:"


def solutions(split: str) -> Iterator[Solution]:
    """Every gold solution as it stands in the dataset."""
    for number, row in enumerate(_rows(split), start=1):
        yield Solution(f"row {number}", row["solution"], row["answer"])


def _rows(split: str) -> list[dict]:
    check_split("math500", split, ["test"])
    columns = ("problem", "solution", "answer", "level")
    rows = load_rows("math500/test.jsonl", ("HuggingFaceH4/MATH-500", "default", "test"), columns)
    for number, row in enumerate(rows, start=1):
        if not row["level"].isdecimal():
            raise UserError(f"math500, row {number}: the level is {row['level']!r}, not a number")
    return rows


MATH500 = Task(
    name="math500",
    load=load,
    verify=partial(verify_math_batch, policy=POLICY),
    max_completion_length=2048,
    splits=("test",),
    solutions=solutions,
)
