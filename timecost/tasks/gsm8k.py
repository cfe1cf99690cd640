"""GSM8K: word problems of primary-school mathematics (Cobbe et al. 2021, arXiv 2110.14168), 7,473 + 1,319.

    question   Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. ...
    solution   Natalia sold 48/2 = <<48/2=24>>24 clips in May.
               Natalia sold 48+24 = <<48+24=72>>72 clips altogether in April and May.
               #### 72
    answer     72

The official test split is `test`; `validation` is a part of the official train split, `train` the rest of it.
"""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from timecost.errors import UserError
from timecost.tasks import Solution, Task, check_split, draw
from timecost.tasks.data import load_rows
from timecost.verifiers.math import verify_math_batch

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "validation", "test")
INSTRUCTION = "Solve the problem. End with a line that holds #### and the answer, a number."


def load(split: str, num_problems: int | None = None, seed: int = 0, conversational: bool = True) -> "Dataset":
    """A split with columns prompt, answer, difficulty: see `timecost.tasks.Task.load`.

    With `num_problems`, that many of them, drawn by the seed. The difficulty is the number of calculations that the
    gold solution marks with `<<...>>`, 0 to 9.
    """
    from datasets import Dataset

    rows = draw(f"gsm8k {split}", [row for _, row in _rows(split)], num_problems, seed)
    return Dataset.from_list(
        [
            {
                "prompt": prompt(row["question"], conversational),
                "answer": answer_of(row["answer"]),
                "difficulty": row["answer"].count("<<"),
            }
            for row in rows
        ]
    )


def prompt(question: str, conversational: bool) -> list[dict] | str:
    """One user message for a chat template, or plain text for a model without one."""
    if conversational:
        return [{"role": "user", "content": f"{question}\n\n{INSTRUCTION}"}]
    return f"{INSTRUCTION}\n\nProblem: {question}\nSolution:"


def answer_of(solution: str) -> str:
    """The number after `####`, without thousands separators."""
    return solution.rpartition("####")[2].strip().replace(",", "")


def solutions(split: str) -> Iterator[Solution]:
    """Every gold solution as it stands in the dataset."""
    for number, row in _rows(split):
        yield Solution(f"row {number}", row["answer"], answer_of(row["answer"]))


def _rows(split: str) -> list[tuple[int, dict]]:
    """The rows of a split, each with its number in the file that it comes from, counted from 1."""
    check_split("gsm8k", split, SPLITS)
    source = "test" if split == "test" else "train"
    rows = load_rows(f"gsm8k/{source}.jsonl", ("openai/gsm8k", "main", source), ("question", "answer"))
    for number, row in enumerate(rows, start=1):
        if "####" not in row["answer"] or not answer_of(row["answer"]):
            raise UserError(f"gsm8k {source}, row {number}: no answer after ####")
    kept = [
        (number, row)
        for number, row in enumerate(rows, start=1)
        if split == "test" or is_validation(row["question"]) == (split == "validation")
    ]
    if not kept:
        raise UserError(f"gsm8k {split} is empty: gsm8k/train.jsonl has {len(rows)} rows, none of them in this split")
    return kept


def is_validation(question: str) -> bool:
    """Whether a question of the official train split is kept for validation: one in 15, by its hash."""
    return int.from_bytes(hashlib.sha256(question.encode()).digest()[:4]) % 15 == 0


GSM8K = Task(
    name="gsm8k",
    load=load,
    verify=verify_math_batch,
    max_completion_length=512,
    splits=SPLITS,
    solutions=solutions,
)
