"""MultiArith: 600 word problems of several operations (Roy and Roth 2015, arXiv 1608.01413).

    input      For Halloween Debby and her sister combined the candy they received. Debby had 32 pieces ...
    target     39

For evaluation alone: it has one split, `test`, which holds all of them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from timecost.tasks import Solution, Task, check_split, draw
from timecost.tasks.data import load_rows
from timecost.tasks.gsm8k import prompt
from timecost.verifiers.math import verify_math_batch

if TYPE_CHECKING:
    from datasets import Dataset

NAMES = {"input": "question", "target": "final_ans"}  # of the columns: in the file -> on the hub


def load(split: str, num_problems: int | None = None, seed: int = 0, conversational: bool = True) -> "Dataset":
    """The split with columns prompt and answer: see `timecost.tasks.Task.load`."""
    from datasets import Dataset

    rows = draw(f"multiarith {split}", _rows(split), num_problems, seed)
    return Dataset.from_list(
        [{"prompt": prompt(row["input"], conversational), "answer": row["target"]} for row in rows]
    )


def solutions(split: str) -> Iterator[Solution]:
    """The answer of every problem: the dataset has no solutions."""
    for number, row in enumerate(_rows(split), start=1):
        yield Solution(f"row {number}", f"#### {row['target']}", row["target"])


def _rows(split: str) -> list[dict]:
    check_split("multiarith", split, ["test"])
    hub = ("ChilleD/MultiArith", "default", "train+test")
    return load_rows("mawps/multiarith.jsonl", hub, tuple(NAMES), NAMES)


MULTIARITH = Task(
    name="multiarith",
    load=load,
    verify=verify_math_batch,
    max_completion_length=256,
    splits=("test",),
    solutions=solutions,
)
