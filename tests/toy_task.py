"""A task for the tests of training: the arithmetic prompts, and a verdict that an untrained model meets half the time.

Named `toy_task:TOY` on the command line; a real verifier would call everything wrong and leave nothing to learn.
"""

from timecost.tasks import Task
from timecost.tasks.arithmetic import ARITHMETIC
from timecost.verifiers.verdict import Verdict


def verify(completions: list[str], answers: list[str]) -> list[Verdict]:
    return [Verdict.correct() if len(text) % 2 else Verdict.incorrect("even length") for text in completions]


def load_chat(split: str, num_problems: int | None = None, seed: int = 0, conversational: bool = True):
    """The same problems as user messages."""
    rows = ARITHMETIC.load(split, num_problems=num_problems, seed=seed)
    return rows.map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]})


TOY = Task(name="toy", load=ARITHMETIC.load, verify=verify, max_completion_length=16)
CHAT = Task(name="chat", load=load_chat, verify=verify, max_completion_length=16)
