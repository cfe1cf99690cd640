"""Tasks: a dataset, its prompts and its verifier under one name. Training and evaluation know tasks by this alone.

    task = get_task("gsm8k")
    dataset = task.load("train", num_problems=100)
    verdicts = task.verify(["6 * 7 = 42\\n#### 42"], ["42"])

Importing this module imports neither torch nor datasets: a task's own module is imported when it is asked for.
"""

import importlib
import os
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from timecost.errors import UserError, nearest
from timecost.verifiers.reward import Reward
from timecost.verifiers.verdict import Verdict

if TYPE_CHECKING:
    from datasets import Dataset

# name -> "module:attribute". A task outside this package is named in the same form.
TASKS = {
    "arithmetic": "timecost.tasks.arithmetic:ARITHMETIC",
    "arithmetic_hard": "timecost.tasks.arithmetic_hard:TASK",
    "gsm8k": "timecost.tasks.gsm8k:GSM8K",
    "humaneval": "timecost.tasks.humaneval:HUMANEVAL",
    "humaneval_plus": "timecost.tasks.humaneval:HUMANEVAL_PLUS",
    "math500": "timecost.tasks.math500:MATH500",
    "math_train": "timecost.tasks.math_train:MATH_TRAIN",
    "mbpp": "timecost.tasks.mbpp:MBPP",
    "mbpp_plus": "timecost.tasks.mbpp:MBPP_PLUS",
    "multiarith": "timecost.tasks.multiarith:MULTIARITH",
    "svamp": "timecost.tasks.svamp:SVAMP",
}
# Models that come with the package, name -> folder: a Llama and, made from it, a B'MOJO
MODELS = {name: Path(__file__).parent / name for name in ("arithmetic_base", "arithmetic_base_bmojo")}


class Solution(NamedTuple):
    """A completion that must score 1.0: what `timecost validate` checks."""

    row: str  # where it stands, for a message: "row 17"
    completion: str
    answer: str


@dataclass(frozen=True)
class Task:
    """A dataset, its prompts and its verifier.

    Attributes:
        load: `load(split, num_problems=None, seed=0, conversational=True) -> Dataset` with columns `prompt` (one user
            message as a list, or a plain string), `answer` (str) and, where it is known, `difficulty` (int). Without
            `num_problems` the whole split, or the task's own number where problems are drawn. `conversational=False`
            asks for plain strings, for a tokenizer without a chat template; a task whose prompts have a form of
            their own ignores it. Raises UserError for an unknown split and a number that the split does not have.
        verify: `verify(completions, answers) -> list[Verdict]`, completions as text. It must pickle.
        max_completion_length: default bound for sampling, in tokens.
        splits: names that `load` knows.
        style_of: name of the style of thinking of a completion, one of `styles` or `other`.
        think_end: text of the token that ends thinking.
        solutions: `solutions(split)` yields the gold solutions of a split.
        step_end: text of a token near the end of a step of thinking, and how many tokens of the step follow it. None:
            a step ends with an empty line.
        exact_answer: a completion is right when `answer` and nothing else follows the end of thinking, so that its
            probability can be read off the model.
    """

    name: str
    load: Callable[..., "Dataset"]
    verify: Callable[[list[str], list[str]], list[Verdict]]
    max_completion_length: int
    style_of: Callable[[str], str] | None = None
    styles: tuple[str, ...] = ()
    think_end: str = "</think>"
    splits: tuple[str, ...] = ("train", "validation", "test")
    solutions: Callable[[str], Iterable[Solution]] | None = None
    step_end: tuple[str, int] | None = None
    exact_answer: bool = False

    @property
    def reward(self) -> Reward:
        """The verifier with TRL's signature of a reward function."""
        return Reward(self.verify)


def get_task(name: str) -> Task:
    """The task of a name in TASKS, a path that ends in .yaml, or `package.module:ATTRIBUTE`; UserError names them."""
    if name.endswith((".yaml", ".yml")):
        from timecost.tasks.from_yaml import task_from_yaml

        return task_from_yaml(name)
    if name not in TASKS and ":" not in name:
        raise UserError(
            f"unknown task '{name}'{nearest(name, TASKS)} "
            f"(tasks: {', '.join(TASKS)}, a .yaml file, or package.module:ATTRIBUTE)"
        )
    task = import_name(TASKS.get(name, name), f"cannot import task {name!r}")
    if not isinstance(task, Task):
        raise UserError(f"{name!r} is not a timecost.tasks.Task")
    return task


def import_name(name: str, failure: str):
    """What `package.module:ATTRIBUTE` names, None without such an attribute; UserError, which begins with `failure`,
    when the module cannot be imported."""
    if name not in TASKS.values() and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a console script does not look for modules where it is called
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except (ImportError, ValueError) as error:
        raise UserError(f"{failure}: {error}") from error


def resolve_model(name: str) -> str:
    """The folder of a model that comes with the package (`arithmetic_base`); any other name or path as it is."""
    if name not in MODELS:
        return name
    if not (MODELS[name] / "config.json").is_file():
        raise UserError(f"the model {name!r} is missing from this installation: no {MODELS[name] / 'config.json'}")
    return str(MODELS[name])


def draw(name: str, rows: list, num_problems: int | None, seed: int) -> list:
    """All rows, or that many of them, drawn by the seed. UserError for a number that `name`, a split, does not have."""
    if num_problems is None:
        return rows
    if not 1 <= num_problems <= len(rows):
        raise UserError(f"{name} has {len(rows)} problems: num_problems cannot be {num_problems}")
    return random.Random(f"{name} {seed}").sample(rows, num_problems)


def check_split(task: str, split: str, splits: Iterable[str]) -> None:
    """UserError unless `split` is one of `splits`."""
    if split not in splits:
        raise UserError(f"{task} has no split {split!r}: one of {', '.join(splits)}")
