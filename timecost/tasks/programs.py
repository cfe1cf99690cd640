"""What the tasks of programs share: their files, their prompts, and a verdict on a completion by a problem's name."""

import gzip
import json
import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from timecost.errors import UserError
from timecost.tasks import Solution, Task, check_split, draw
from timecost.tasks.data import VARIABLE, download_file, download_rows
from timecost.verifiers import SandboxUnavailable, Verdict
from timecost.verifiers.code import verify_code_batch

if TYPE_CHECKING:
    from datasets import Dataset

# On the hub: name, configuration, split; or a file in a public repository: address, SHA-256.
Source = tuple[str, str, str] | tuple[str, str]

INSTRUCTION = "Answer with the whole program in one block that starts with ```python and ends with ```."


def program_task(
    name: str, file: str, source: Source, splits: tuple[str, ...], convert: Callable[[dict], dict | None],
    split_of: Callable[[dict], str], question: Callable[[dict], str], max_completion_length: int = 1024,
) -> Task:  # fmt: skip
    """A task of programs.

    Args:
        file: path inside the folder that TIMECOST_DATA_DIR names: JSON Lines, packed or not, or one JSON array.
        source: where the rows come from when that variable is not set.
        convert: a row of the file to a problem of `timecost.verifiers.code`.
        split_of: the split of a row, one of `splits`; rows of others are left out.
        question: what a conversational prompt asks, without the instruction.
    """
    shared = {"name": name, "file": file, "source": source, "splits": splits}
    functions = {"convert": convert, "split_of": split_of}
    return Task(
        name=name,
        load=partial(_load, **shared, **functions, question=question),
        verify=partial(_verify, **shared, **functions),
        max_completion_length=max_completion_length,
        splits=splits,
        solutions=partial(_solutions, **shared, **functions),
    )


def _load(
    split: str, num_problems: int | None = None, seed: int = 0, conversational: bool = True, *,
    name: str, file: str, source: Source, splits, convert, split_of, question,
) -> "Dataset":  # fmt: skip
    """Columns prompt, answer (the name of the problem, which the verifier looks up) and difficulty (lines of code)."""
    from datasets import Dataset

    check_split(name, split, splits)
    rows = [row for row in _rows(file, source) if split_of(row) == split]
    return Dataset.from_list(
        [
            {
                "prompt": prompt(row, question, conversational),
                "answer": str(row["task_id"]),
                "difficulty": sum(1 for line in gold(row).splitlines() if line.strip()),
            }
            for row in draw(f"{name} {split}", rows, num_problems, seed)
        ]
    )


def prompt(row: dict, question: Callable[[dict], str], conversational: bool) -> list[dict] | str:
    """One user message, or text for a model to continue: the prompt of HumanEval, a docstring for MBPP."""
    if conversational:
        return [{"role": "user", "content": f"{question(row)}\n\n{INSTRUCTION}"}]
    if "entry_point" in row:
        return row["prompt"]
    return f'"""\n{row["prompt"]}\n{row["test_list"][0]}\n"""\n'


def gold(row: dict) -> str:
    return row.get("canonical_solution") or row["code"]


def _solutions(split: str, *, name: str, file: str, source: Source, splits, convert, split_of):
    check_split(name, split, splits)
    for row in _rows(file, source):
        if split_of(row) == split:
            yield Solution(str(row["task_id"]), gold(row), str(row["task_id"]))


def _verify(
    completions: list[str], answers: list[str], *, name: str, file: str, source: Source, splits, convert, split_of
) -> list[Verdict]:
    """A verdict on each completion. UserError where no sandbox can be started, or the file is not there."""
    rows = _by_name(file, source)
    known = [i for i, answer in enumerate(answers) if answer in rows]
    try:
        verdicts = verify_code_batch(
            [completions[i] for i in known], [problem_of(file, source, convert, answers[i]) for i in known]
        )
    except SandboxUnavailable as error:
        raise UserError(str(error)) from error
    found = dict(zip(known, verdicts, strict=True))
    return [
        found.get(i, Verdict.verifier_error(f"{name} has no problem {answers[i]!r}")) for i in range(len(completions))
    ]


@lru_cache(maxsize=2048)
def problem_of(file: str, source: Source, convert: Callable[[dict], dict | None], task_id: str) -> dict:
    """What `convert` makes of the row with that name. KeyError without one; see `program_task` for the others."""
    return convert(_by_name(file, source)[task_id])


def _by_name(file: str, source: Source) -> dict[str, dict]:
    return {str(row["task_id"]): row for row in _rows(file, source)}


def _rows(file: str, source: Source) -> list[dict]:
    folder = os.environ.get(VARIABLE)
    return _read(Path(folder) / file, source[0]) if folder else _fetch(file, source)


@lru_cache(maxsize=8)
def _fetch(file: str, source: Source) -> list[dict]:
    if len(source) == 2:
        return _read(download_file(*source, file), source[0])
    return _checked(download_rows(source, file), source[0])


@lru_cache(maxsize=8)
def _read(path: Path, source: str) -> list[dict]:
    if not path.is_file():
        raise UserError(f"{path} does not exist: get it from {source}, or correct {VARIABLE}")
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
        rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines()]
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    return _checked(rows, path)


def _checked(rows: list[dict], source) -> list[dict]:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or "task_id" not in row or "prompt" not in row:
            raise UserError(f"{source}, row {number}: no task_id or prompt")
    if not rows:
        raise UserError(f"{source} is empty")
    return rows
