"""A task for the tests of training: the arithmetic prompts, and a verdict that an untrained model meets half the time.

Named `toy_task:TOY` on the command line; a real verifier would call everything wrong and leave nothing to learn.
"""

from timecost.tasks import ARITHMETIC, Task
from timecost.verifiers.verdict import Verdict


def verify(completions: list[str], answers: list[str]) -> list[Verdict]:
    return [Verdict.correct() if len(text) % 2 else Verdict.incorrect("even length") for text in completions]


TOY = Task(name="toy", load=ARITHMETIC.load, verify=verify, max_completion_length=16)
