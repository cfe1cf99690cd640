"""`timecost validate`: every gold solution of a task must score 1.0 under the task's own verifier."""

import argparse
import sys
from itertools import islice

from timecost.errors import UserError
from timecost.tasks import TASKS, Task, get_task

BATCH = 256  # solutions between two steps of the progress bar


def run(argv: list[str]) -> None:
    """Print the counts of each split and every exception with its reason; exit code 1 when there is one."""
    parser = argparse.ArgumentParser(
        prog="timecost validate", description="Check that every gold solution of a task scores 1.0."
    )
    parser.add_argument("--task", required=True, help=f"{', '.join(TASKS)}, or package.module:ATTRIBUTE")
    task = get_task(parser.parse_args(argv).task)
    if task.solutions is None:
        raise UserError(f"task {task.name} has no gold solutions: set Task.solutions")
    num_exceptions = 0
    for split in task.splits:
        num_solutions, exceptions = validate(task, split)
        print(f"{split:<12} {num_solutions - len(exceptions):>7} of {num_solutions} score 1.0", flush=True)
        for line in exceptions:
            print(f"  {line}", flush=True)
        num_exceptions += len(exceptions)
    if num_exceptions:
        print(f"{num_exceptions} gold solutions of {task.name} do not score 1.0", file=sys.stderr)
        sys.exit(1)


def validate(task: Task, split: str) -> tuple[int, list[str]]:
    """The number of gold solutions in a split, and a line for each that does not score 1.0."""
    from tqdm import tqdm

    num_solutions, exceptions = 0, []
    solutions = iter(task.solutions(split))
    with tqdm(desc=split, unit=" solutions", disable=None, leave=False) as bar:  # none where stderr is no terminal
        while batch := list(islice(solutions, BATCH)):
            verdicts = task.verify([solution.completion for solution in batch], [solution.answer for solution in batch])
            for solution, verdict in zip(batch, verdicts, strict=True):
                if verdict.status != "correct" or verdict.score != 1:
                    reason = verdict.reason or f"score {verdict.score}"
                    exceptions.append(f"{solution.row}: {verdict.status}, {' '.join(reason.split())}")
            num_solutions += len(batch)
            bar.update(len(batch))
    return num_solutions, exceptions
