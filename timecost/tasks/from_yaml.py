"""A task of a user's own from a YAML file of ten lines, over JSON Lines files of any columns.

name: capitals
splits: {train: capitals_train.jsonl, test: capitals_test.jsonl}   # paths from where the YAML file lies
prompt: "What is the capital of {country}?"                        # {column} of a row
answer: "{capital}"
verifier: exact                                                    # math, exact or package.module:FUNCTION
solution: "{capital}"                                              # optional, for `timecost validate`
max_completion_length: 256                                         # optional, in tokens
think_end: "</think>"                                              # optional
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from timecost.errors import UserError, nearest
from timecost.options import load_recipe
from timecost.tasks import Solution, Task, check_split, draw, import_name
from timecost.tasks.data import read_rows
from timecost.verifiers.verdict import Verdict

if TYPE_CHECKING:
    from datasets import Dataset

REQUIRED = ("name", "splits", "prompt", "answer", "verifier")
OPTIONAL = {"solution": None, "max_completion_length": 512, "think_end": "</think>"}


def task_from_yaml(path: str | Path) -> Task:
    """The task that a YAML file describes. Raises UserError for a missing, unknown or wrong field."""
    path = Path(path)
    spec = load_recipe(path)
    for field in spec:
        if field not in (*REQUIRED, *OPTIONAL):
            raise UserError(f"{path}: unknown field '{field}'{nearest(field, (*REQUIRED, *OPTIONAL))}")
    for field in REQUIRED:
        if not spec.get(field):
            raise UserError(f"{path}: the field '{field}' is missing (a task needs {', '.join(REQUIRED)})")
    spec = OPTIONAL | spec
    for field in ("name", "prompt", "answer", "verifier", "think_end", "solution"):
        if not isinstance(spec[field], str) and not (field == "solution" and spec[field] is None):
            raise UserError(f"{path}: {field} must be text, not {spec[field]!r}")
    splits, length = spec["splits"], spec["max_completion_length"]
    if not isinstance(splits, dict) or not all(isinstance(part, str) for item in splits.items() for part in item):
        raise UserError(f"{path}: splits must map names to files, such as {{test: test.jsonl}}")
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        raise UserError(f"{path}: max_completion_length must be a number of tokens, not {length!r}")
    files = {split: str(path.parent / file) for split, file in splits.items()}
    return Task(
        name=spec["name"],
        load=partial(load, spec, files),
        verify=verifier(path, spec["verifier"], spec["think_end"]),
        max_completion_length=length,
        think_end=spec["think_end"],
        splits=tuple(files),
        solutions=None if spec["solution"] is None else partial(solutions, spec, files),
    )


def load(
    spec: dict, files: dict, split: str, num_problems: int | None = None, seed: int = 0, conversational: bool = True
) -> "Dataset":
    """A split with columns prompt and answer: see `timecost.tasks.Task.load`."""
    from datasets import Dataset

    rows = draw(f"{spec['name']} {split}", list(problems(spec, files, split)), num_problems, seed)
    return Dataset.from_list(
        [{"prompt": [{"role": "user", "content": p}] if conversational else p, "answer": a} for p, a, _ in rows]
    )


def solutions(spec: dict, files: dict, split: str) -> Iterator[Solution]:
    """The gold solution of every row."""
    for number, (_, answer, solution) in enumerate(problems(spec, files, split), start=1):
        yield Solution(f"row {number}", solution, answer)


def problems(spec: dict, files: dict, split: str) -> Iterator[tuple[str, str, str | None]]:
    """Prompt, answer and solution of every row of a split."""
    check_split(spec["name"], split, files)
    if not Path(files[split]).is_file():
        raise UserError(f"{files[split]} does not exist: splits name files from where the YAML file lies")
    rows = read_rows(Path(files[split]))
    if not rows:
        raise UserError(f"{files[split]} is empty")
    for number, row in enumerate(rows, start=1):
        where = f"{files[split]}, row {number}"
        prompt, answer = fill(spec["prompt"], row, where), fill(spec["answer"], row, where)
        yield prompt, answer, None if spec["solution"] is None else fill(spec["solution"], row, where)


def fill(template: str, row: dict, where: str) -> str:
    """A template with each {column} replaced by the row's text or number. UserError for an empty or missing one."""

    def value(match):
        column = match[1]
        if row.get(column) is None or not str(row[column]).strip():
            raise UserError(f"{where}: no {column}{nearest(column, row)}")
        return str(row[column])

    return re.sub(r"\{(\w+)\}", value, template)


def verifier(path: Path, name: str, think_end: str) -> Callable[[list[str], list[str]], list[Verdict]]:
    """The function that a verifier's name stands for."""
    if name == "exact":
        return partial(verify_exact, think_end=think_end)
    if name == "math":
        from timecost.verifiers.math import MathPolicy, verify_math_batch

        return partial(verify_math_batch, policy=MathPolicy(think_start=opens(think_end), think_end=think_end))
    if ":" not in name:
        raise UserError(
            f"{path}: unknown verifier '{name}'{nearest(name, ('exact', 'math'))} "
            "(exact, math or package.module:FUNCTION)"
        )
    function = import_name(name, f"{path}: cannot import the verifier '{name}'")
    if not callable(function):
        raise UserError(f"{path}: '{name}' is not a function")
    return function


def opens(think_end: str) -> str:
    """What opens the thinking that `think_end` closes: the same without its slash, else `<think>`."""
    return think_end.replace("/", "", 1) if "/" in think_end else "<think>"


def verify_exact(completions: list[str], answers: list[str], think_end: str = "</think>") -> list[Verdict]:
    """Correct where what follows the last `think_end` or `####` is the answer, but for case and white space; where a
    `<think>` never closes there is none."""
    verdicts = []
    for completion, answer in zip(completions, answers, strict=True):
        if opens(think_end) in completion.rpartition(think_end)[2]:
            verdicts.append(Verdict.incorrect("thinking never closed"))
            continue
        given = re.split(f"{re.escape(think_end)}|####", completion)[-1]
        same = " ".join(given.split()).casefold() == " ".join(answer.split()).casefold()
        verdicts.append(
            Verdict.correct() if same else Verdict.incorrect(f"answered {given.strip()[:40]!r}, not {answer!r}")
        )
    return verdicts
