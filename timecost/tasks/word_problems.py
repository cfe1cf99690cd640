"""What the tasks of word problems share: their prompts, their columns, and which problems are kept for validation."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from timecost.tasks import Solution, Task, check_split, draw
from timecost.verifiers.math import DEFAULT, MathPolicy, verify_math_batch

if TYPE_CHECKING:
    from datasets import Dataset


def word_problem_task(
    name: str, splits: tuple[str, ...], problems: Callable[[str], list[dict]], instruction: str,
    max_completion_length: int, policy: MathPolicy = DEFAULT,
) -> Task:  # fmt: skip
    """A task of word problems, judged as mathematics.

    Args:
        problems: the problems of one of `splits`, each with question, answer and solution (text); `difficulty` (int or
            None) where the task has one, and `row`, its number in the file, where that is not its place in the list.
        instruction: what a prompt says beside the question.
    """
    return Task(
        name=name,
        load=partial(_load, name, splits, problems, instruction),
        verify=partial(verify_math_batch, policy=policy),
        max_completion_length=max_completion_length,
        splits=splits,
        solutions=partial(_solutions, name, splits, problems),
    )


def _load(
    name: str, splits: tuple[str, ...], problems: Callable[[str], list[dict]], instruction: str,
    split: str, num_problems: int | None = None, seed: int = 0, conversational: bool = True,
) -> "Dataset":  # fmt: skip
    """A split with columns prompt, answer and, where the task has one, difficulty: see `timecost.tasks.Task.load`."""
    from datasets import Dataset

    check_split(name, split, splits)
    return Dataset.from_list(
        [
            {"prompt": prompt(problem["question"], instruction, conversational)}
            | {column: problem[column] for column in ("answer", "difficulty") if column in problem}
            for problem in draw(f"{name} {split}", problems(split), num_problems, seed)
        ]
    )


def _solutions(
    name: str, splits: tuple[str, ...], problems: Callable[[str], list[dict]], split: str
) -> Iterator[Solution]:
    check_split(name, split, splits)
    for number, problem in enumerate(problems(split), start=1):
        yield Solution(f"row {problem.get('row', number)}", problem["solution"], problem["answer"])


def prompt(question: str, instruction: str, conversational: bool) -> list[dict] | str:
    """One user message for a chat template, or plain text for a model without one."""
    if conversational:
        return [{"role": "user", "content": f"{question}\n\n{instruction}"}]
    return f"{instruction}\n\nProblem: {question}\nSolution:"


def is_validation(question: str) -> bool:
    """Whether a question of a train split is kept for validation: one in 15, by its hash."""
    return int.from_bytes(hashlib.sha256(question.encode()).digest()[:4]) % 15 == 0
