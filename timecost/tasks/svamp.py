"""SVAMP: 1,000 short word problems with one or two operations (Patel et al. 2021, arXiv 2103.07191).

    body       Each pack of dvds costs 76 dollars. If there is a discount of 25 dollars on each pack
    question   How much do you have to pay to buy each pack?
    equation   ( 76.0 - 25.0 )
    answer     51

For evaluation alone: it has one split, `test`, which holds all of them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from timecost.errors import UserError
from timecost.tasks import Solution, Task, check_split, draw
from timecost.tasks.data import as_text, load_rows
from timecost.tasks.gsm8k import prompt
from timecost.verifiers.math import verify_math_batch

if TYPE_CHECKING:
    from datasets import Dataset


def load(split: str, num_problems: int | None = None, seed: int = 0, conversational: bool = True) -> "Dataset":
    """The split with columns prompt, answer, difficulty (operations, 1 or 2): see `timecost.tasks.Task.load`."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "prompt": prompt(f"{row['Body'].rstrip('. ')}. {row['Question']}", conversational),
                "answer": row["Answer"],
                "difficulty": row["Equation"].count("("),
            }
            for row in draw(f"svamp {split}", _rows(split), num_problems, seed)
        ]
    )


def solutions(split: str) -> Iterator[Solution]:
    """The equation of every problem, then its answer."""
    for number, row in enumerate(_rows(split), start=1):
        yield Solution(f"row {number}", f"{row['Equation']} = {row['Answer']}\n#### {row['Answer']}", row["Answer"])


def _rows(split: str) -> list[dict]:
    check_split("svamp", split, ["test"])
    columns = ("Body", "Question", "Equation", "Answer")
    rows = load_rows("svamp/SVAMP.json", ("ChilleD/SVAMP", "default", "train+test"), columns)
    for number, row in enumerate(rows, start=1):
        try:
            row["Answer"] = as_text(float(row["Answer"]))  # the hub has text, "51.0"
        except ValueError:
            raise UserError(f"svamp, row {number}: the answer is {row['Answer']!r}, not a number") from None
    return rows


SVAMP = Task(
    name="svamp",
    load=load,
    verify=verify_math_batch,
    max_completion_length=256,
    splits=("test",),
    solutions=solutions,
)
