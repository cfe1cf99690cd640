"""The embedded task: one-digit arithmetic, evaluated strictly from left to right.

    prompt    a7b-3c*2d+1=<think>               7, then b: minus 3, c: times 2, d: plus 1
    steps     b7-3=4c4*2=8d8+1=9</think>9       one operation a step, written out
    pairs     c-3*2=8d+1=9</think>9             two operations a step, the running value in mind: slips on long ones
    midway    c8</think>9                       the value halfway, nothing else
    direct    </think>9                         no thought
    checked   c-3*2=8d+1=9?b7-3=4...</think>9   a second pass in another style; a third decides when they disagree

A step opens with the letter of the last operation that it takes in. Every value on the way is a digit, so a model of
a million parameters can master the task in minutes on a CPU, and the difficulty is the number of operands, 2 to 10.
What a style costs and how often it is right differ by difficulty: that is the saving that training has to find.
Nothing here imports torch.
"""

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from timecost.budget import budget_token
from timecost.errors import UserError
from timecost.tasks import Solution, Task, check_split
from timecost.verifiers.verdict import Verdict

DIFFICULTIES = range(2, 11)
STYLES = ("direct", "midway", "pairs", "steps", "checked")
THINK_END = "</think>"
BUDGETS = (8, 16, 32, 64)  # rungs of the ladder of budgets, in thinking tokens
MAX_COMPLETION_LENGTH = 128  # tokens; the longest trace has 106
LETTERS = "abcdefghij"
OPERATIONS_PER_STEP = {"pairs": 2, "steps": 1}
APPLY = {"+": lambda value, operand: value + operand, "-": lambda value, operand: value - operand,
         "*": lambda value, operand: value * operand}  # fmt: skip
FIRST_STEP = {
    "midway": r"[b-j]\d$",
    "pairs": r"[b-j][-+*]\d([-+*]\d)?=\d",
    "steps": r"[b-j]\d[-+*]\d=\d",
}
SPLITS = {"train": range(0, 60), "validation": range(60, 80), "test": range(80, 100)}
COUNTS = {"train": 20_000, "validation": 300, "test": 2_000, "held_out": 1_000}


@dataclass(frozen=True)
class Problem:
    """An expression: the first operand and what follows it, `(operator, operand)` from left to right."""

    first: int
    rest: tuple[tuple[str, int], ...]

    @property
    def expression(self) -> str:
        operations = zip(LETTERS[1:], self.rest, strict=False)
        return f"a{self.first}" + "".join(f"{letter}{operator}{operand}" for letter, (operator, operand) in operations)

    @property
    def prompt(self) -> str:
        return f"{self.expression}=<think>"

    @property
    def values(self) -> list[int]:
        """The running value after 0, 1, 2 ... operations; the last one is the answer."""
        values = [self.first]
        for operator, operand in self.rest:
            values.append(APPLY[operator](values[-1], operand))
        return values

    @property
    def answer(self) -> str:
        return str(self.values[-1])

    @property
    def difficulty(self) -> int:
        """Number of operands."""
        return 1 + len(self.rest)


def bucket(text: str) -> int:
    """A number from 0 to 99 that a hash of the text draws."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % 100


@cache
def _continuations(value: int) -> dict[str, list[int]]:
    """What may follow a running value: operator -> operands that change it and keep it a digit."""
    continuations = {
        "+": [b for b in range(1, 10) if value + b <= 9],
        "-": [b for b in range(1, 10) if value - b >= 0],
        "*": [b for b in range(2, 10) if 0 < value * b <= 9],
    }
    return {operator: operands for operator, operands in continuations.items() if operands}


def is_held_out(problem: Problem) -> bool:
    """Whether two neighbouring operations of the problem, such as `-3*2`, are one of the 4 % never trained on."""
    operations = [f"{operator}{operand}" for operator, operand in problem.rest]
    return any(bucket("pair " + a + b) < 4 for a, b in zip(operations, operations[1:], strict=False))


def split_of(problem: Problem) -> str:
    """`train`, `validation` or `test` by a hash of the expression, or `held_out` for an untrained combination."""
    if is_held_out(problem):
        return "held_out"
    number = bucket(problem.expression)
    return next(split for split, buckets in SPLITS.items() if number in buckets)


def sample_problem(rng: random.Random, difficulty: int) -> Problem:
    first = value = rng.randrange(10)
    rest = []
    for _ in range(difficulty - 1):
        continuations = _continuations(value)
        operator = rng.choice(list(continuations))
        operand = rng.choice(continuations[operator])
        value = APPLY[operator](value, operand)
        rest.append((operator, operand))
    return Problem(first, tuple(rest))


def problems(split: str, num_problems: int, seed: int = 0, *, distinct: bool = True) -> list[Problem]:
    """`num_problems` of a split, in equal parts over the difficulties, in random order, a function of the seed alone.

    With `distinct`, no problem comes twice; a difficulty that has run out (there are 104 expressions of two operands)
    leaves its share to the others. Raises ValueError for an unknown split.
    """
    if split not in (*SPLITS, "held_out"):
        raise ValueError(f"unknown split {split!r}: one of {', '.join((*SPLITS, 'held_out'))}")
    rng = random.Random(f"{split} {seed}")
    found: dict[Problem, None] = {}
    rows: list[Problem] = []
    failures = dict.fromkeys(DIFFICULTIES, 0)
    while len(rows) < num_problems:
        for difficulty in DIFFICULTIES:
            if len(rows) == num_problems or failures[difficulty] >= 2000:
                continue
            while failures[difficulty] < 2000:
                problem = sample_problem(rng, difficulty)
                if split_of(problem) == split and not (distinct and problem in found):
                    found[problem] = None
                    rows.append(problem)
                    failures[difficulty] = 0
                    break
                failures[difficulty] += 1
    rng.shuffle(rows)
    return rows


# Traces ---------------------------------------------------------------------------------------------------------------


def write_pass(problem: Problem, values: list[int], style: str) -> list[str]:
    """The steps of one pass in a style, as a list. `values` may hold a slip: they are written as they are."""
    num_operations = len(problem.rest)
    if style == "midway":
        end = (num_operations + 1) // 2
        return [f"{LETTERS[end]}{values[end]}"]
    steps = []
    for start in range(0, num_operations, OPERATIONS_PER_STEP[style]):
        operations = problem.rest[start : start + OPERATIONS_PER_STEP[style]]
        end = start + len(operations)
        written = "".join(f"{operator}{operand}" for operator, operand in operations)
        running = values[start] if style == "steps" else ""
        steps.append(f"{LETTERS[end]}{running}{written}={values[end]}")
    return steps


def values_with_slip(problem: Problem, style: str, rng: random.Random) -> tuple[list[int], int]:
    """Running values with one wrong result and all that follows from it, and the index of the step that slips."""
    per_step = OPERATIONS_PER_STEP[style]
    while True:
        step = rng.randrange(-(-len(problem.rest) // per_step))
        index = min((step + 1) * per_step, len(problem.rest))
        values = problem.values[:index]
        values.append(rng.choice([v for v in range(10) if v != problem.values[index]]))
        for operator, operand in problem.rest[index:]:
            values.append(APPLY[operator](values[-1], operand))
        if all(0 <= value <= 9 for value in values) and values[-1] != problem.values[-1]:
            return values, step


def sample_trace(
    problem: Problem,
    rng: random.Random,
    shares: dict[str, float],
    early_share: float,
    slip_share: float,
    haste: float = 0.0,
) -> list[tuple[str, bool]]:
    """A completion for supervised training, as `(text, trained)` pieces.

    `early_share` of the traces that think are closed at a random step and give the true answer from what they have.
    `slip_share` of the checked ones, up to eight operands, slip in the first pass, and a third pass decides; that slip
    is not trained on, so the model learns to notice one. `haste` is what pairs cost on long expressions: with this
    probability for each operation beyond the second they slip unnoticed, and the model learns that they sometimes do.
    """
    style = rng.choices(list(shares), list(shares.values()))[0]
    answer = (THINK_END + problem.answer, True)
    if style == "pairs" and rng.random() < haste * (len(problem.rest) - 2):
        values, _ = values_with_slip(problem, style, rng)
        return [("".join(write_pass(problem, values, style)), True), (f"{THINK_END}{values[-1]}", True)]
    if style == "checked":
        first, second = rng.sample(list(OPERATIONS_PER_STEP), 2)
        again = ["?", *write_pass(problem, problem.values, second)]
        if problem.difficulty <= 8 and rng.random() < slip_share:
            values, slip = values_with_slip(problem, first, rng)
            written = write_pass(problem, values, first)
            again += ["?", *write_pass(problem, problem.values, "pairs")]
            before, after = "".join([*written[:slip], written[slip][:-1]]), "".join(written[slip + 1 :])
            return [(before, True), (written[slip][-1], False), (after + "".join(again), True), answer]
        steps = write_pass(problem, problem.values, first) + again
    else:
        steps = [] if style == "direct" else write_pass(problem, problem.values, style)
    if len(steps) > 1 and rng.random() < early_share:
        steps = steps[: rng.randrange(1, len(steps))]
    return [("".join(steps), True), answer]


def style_of(completion: str) -> str:
    """The style of a completion, by its thinking: one of STYLES, or `other` when it matches none.

    A trace closed early has the style of its first step.
    """
    thinking = completion.partition(THINK_END)[0]
    if not thinking:
        return "direct"
    if "?" in thinking:
        return "checked"
    return next((style for style, pattern in FIRST_STEP.items() if re.match(pattern, thinking)), "other")


def verify(completion: str, answer: str) -> bool:
    """True when what follows the first `</think>` is the answer and nothing else."""
    _, closed, text = completion.partition(THINK_END)
    return bool(closed) and text.strip() == answer


# Tokenizer ------------------------------------------------------------------------------------------------------------


def build_tokenizer():
    """One token per character, `<think>` and `</think>` each one token that decoding keeps; `<bos>` opens a prompt.

    The budget tokens that may stand before an expression are special tokens, which decoding can leave out.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    budgets = [budget_token(budget) for budget in (*BUDGETS, None)]
    words = ["<pad>", "<bos>", "<eos>", "<unk>", "<think>", THINK_END, *"0123456789+-*=?", *LETTERS, *budgets]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.add_tokens([AddedToken("<think>", normalized=False), AddedToken(THINK_END, normalized=False)])
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>",
        extra_special_tokens=budgets, padding_side="left", model_max_length=256,
    )  # fmt: skip


# Task -----------------------------------------------------------------------------------------------------------------


def load(split: str, num_problems: int | None = None, seed: int = 0, conversational: bool = True):
    """A split with columns prompt, answer, difficulty: see `timecost.tasks.Task.load`.

    For training, problems repeat where a difficulty has few, so that every difficulty is trained on as often.
    """
    count = count_of("arithmetic", COUNTS, split, num_problems)
    return as_dataset(problems(split, count, seed, distinct=split != "train"))


def count_of(task: str, counts: dict[str, int], split: str, num_problems: int | None) -> int:
    """How many problems to draw: `num_problems`, or what the split has in `counts`. UserError for none, or no split."""
    check_split(task, split, counts)
    if num_problems is not None and num_problems < 1:
        raise UserError(f"num_problems must be at least 1, not {num_problems}")
    return num_problems or counts[split]


def as_dataset(rows: list[Problem]):
    """A `datasets.Dataset` with columns prompt, answer, difficulty."""
    from datasets import Dataset

    return Dataset.from_list([{"prompt": p.prompt, "answer": p.answer, "difficulty": p.difficulty} for p in rows])


def verify_all(completions: list[str], answers: list[str]) -> list[Verdict]:
    return [_verdict(completion, answer) for completion, answer in zip(completions, answers, strict=True)]


def _verdict(completion: str, answer: str) -> Verdict:
    if verify(completion, answer):
        return Verdict.correct()
    _, closed, text = completion.partition(THINK_END)
    return Verdict.incorrect(f"answered {text.strip()[:40]!r}, not {answer!r}" if closed else "thinking never closed")


def solutions(split: str) -> Iterator[Solution]:
    return solutions_of(problems(split, count_of("arithmetic", COUNTS, split, None)), split)


def solutions_of(rows: list[Problem], split: str) -> Iterator[Solution]:
    """Every problem in every style; a checked one takes its two passes in different styles, drawn at random."""
    rng = random.Random(f"solutions {split}")
    for problem in rows:
        passes = {style: "".join(write_pass(problem, problem.values, style)) for style in OPERATIONS_PER_STEP}
        first, second = rng.sample(list(passes), 2)
        midway = "".join(write_pass(problem, problem.values, "midway"))
        thinking = {"direct": "", "midway": midway, "checked": f"{passes[first]}?{passes[second]}", **passes}
        for style, text in thinking.items():
            yield Solution(f"{problem.expression} ({style})", text + THINK_END + problem.answer, problem.answer)


ARITHMETIC = Task(
    name="arithmetic",
    load=load,
    verify=verify_all,
    max_completion_length=MAX_COMPLETION_LENGTH,
    style_of=style_of,
    styles=STYLES,
    think_end=THINK_END,
    splits=tuple(COUNTS),
    solutions=solutions,
    step_end=("=", 1),
    exact_answer=True,
)
