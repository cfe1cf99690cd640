"""What is asked of a model: jobs, each one task at one budget or price, with its problems and their prompts."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from timecost.budget import ladder_of, round_down
from timecost.errors import UserError
from timecost.evaluation.results import budget_text
from timecost.generation import GRACE, encode
from timecost.prompt_tokens import check_decodable, single_id
from timecost.tasks import Task

UNFINISHED = "unfinished"  # folder, inside that of results
BASELINES = ("truncation", "prompt", "no_thinking")
HELD = ("soft", "hard")  # of what a record says of `enforce`: a bound is held
THINK_START = "<think>"
ASK = "Use at most {} tokens of thinking."  # the baseline `prompt`


@dataclass(frozen=True)
class Settings:
    """How to sample; lengths in tokens, None for the task's own. The last five are for a value head, at a price.

    `cost_model` is a name or file of `timecost.cost.load_cost_model`, `clip` holds the price at the calibrated one,
    `value_head` is the folder of the head (None: the model's own).
    """

    split: str = "test"
    num_problems: int | None = None
    num_samples: int = 8
    temperature: float = 1.0
    seed: int = 0
    batch_size: int = 256
    max_completion_length: int | None = None
    max_answer_tokens: int | None = None
    num_fewshot: int = 0
    enforce: str = "none"
    baseline: str | None = None
    cost_model: str = "tokens"
    least_value: float | None = None
    decline_novel: float | None = None
    clip: bool = True
    value_head: str | None = None


@dataclass(frozen=True)
class Job:
    """One model on one task at one budget of thinking tokens (None: no bound, 0: no thinking), or at one price."""

    label: str
    task: Task
    budget: int | None
    enforce: str
    problems: list[dict] = field(repr=False)
    settings: dict  # as the record holds them
    price: str | None = None  # at which a value head stops, budget None

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.label, self.task.name, budget_text(self.budget, self.price), self.enforce

    @property
    def name(self) -> str:
        return f"{self.label} on {self.task.name} at budget {budget_text(self.budget, self.price)}"

    @property
    def folder(self) -> str:
        """Of the unfinished job, inside the folder of results."""
        readable = "".join(c if c.isalnum() else "-" for c in "_".join(self.key))[-60:]
        return f"{UNFINISHED}/{readable}-{hashlib.sha256(json.dumps(self.key).encode()).hexdigest()[:8]}"


def make_jobs(
    label: str,
    task: Task,
    budgets: list[int | None],
    settings: Settings,
    *,
    conversational: bool,
    model: dict,
    prices: Sequence[str] = (),
    head: dict | None = None,
) -> list[Job]:
    """The jobs of a task, one a budget and one a price. UserError for what cannot be.

    `model` holds what the record says of the model, `head` of the value head.
    """
    problems = load_problems(task, settings, conversational)
    length = settings.max_completion_length or task.max_completion_length
    answer = settings.max_answer_tokens or min(512, max(1, length // 4))
    bounded = "hard" if settings.baseline == "truncation" else settings.enforce
    jobs = []
    for budget, price in [*((budget, None) for budget in budgets), *((None, price) for price in prices)]:
        enforce = "value" if price is not None else bounded if budget else "none"
        if enforce in HELD and thinking_bound(budget, enforce) + answer + 2 > length:
            raise UserError(
                f"a budget of {budget} thinking tokens and an answer of {answer} do not fit into the {length} tokens "
                f"of a completion of {task.name}: raise --max_completion_length, or lower --max_answer_tokens"
            )
        jobs.append(Job(label, task, budget, enforce, problems, {
            **model, "split": settings.split, "num_samples": settings.num_samples,
            "temperature": settings.temperature, "seed": settings.seed, "batch_size": settings.batch_size,
            "max_completion_length": length, "max_answer_tokens": answer if enforce in HELD else None,
            "num_fewshot": settings.num_fewshot, "baseline": settings.baseline,
            "problems_fingerprint": fingerprint([[p["prompt"], p["answer"]] for p in problems]),
            **({} if price is None else {"price": price, **head}),
        }, price))  # fmt: skip
    return jobs


def load_problems(task: Task, settings: Settings, conversational: bool) -> list[dict]:
    """Problems of the split with prompt, answer and difficulty; the prompts hold the examples that were asked for.

    A problem that is one of the examples goes without it: its prompt would tell its answer.
    """
    problems = list(task.load(settings.split, settings.num_problems, conversational=conversational))
    if not problems:
        raise UserError(f"task {task.name}, split {settings.split}: no problems")
    for row, problem in enumerate(problems):
        for name in ("prompt", "answer"):
            if not problem.get(name):
                raise UserError(f"task {task.name}, split {settings.split}: row {row} has no {name}")
    if not settings.num_fewshot:
        return problems
    shots = fewshot(task, settings.num_fewshot, conversational)
    return [
        {**problem, "prompt": with_shots([shot for shot in shots if shot[0] != problem["prompt"]], problem["prompt"])}
        for problem in problems
    ]


def fewshot(task: Task, num_fewshot: int, conversational: bool) -> list[tuple]:
    """Problems of the train split with their gold solutions, the same ones always: [(prompt, solution)].

    Raises UserError for a task without a train split or without one solution for each of its problems.
    """
    if "train" not in task.splits or task.solutions is None:
        raise UserError(f"--num_fewshot takes examples from a train split with solutions, which {task.name} lacks")
    rows, solutions = list(task.load("train", conversational=conversational)), list(task.solutions("train"))
    if [row["answer"] for row in rows] != [solution.answer for solution in solutions]:
        raise UserError(f"--num_fewshot needs one gold solution for each problem of train, which {task.name} lacks")
    if num_fewshot > len(rows):
        raise UserError(f"num_fewshot is {num_fewshot}: {task.name} has {len(rows)} problems in its train split")
    chosen = random.Random(f"{task.name} fewshot").sample(range(len(rows)), num_fewshot)
    return [(rows[i]["prompt"], solutions[i].completion) for i in chosen]


def with_shots(shots: list[tuple], prompt):
    """A prompt behind solved examples: turns of a conversation, or text."""
    if isinstance(prompt, str):
        return "".join(f"{question} {solution.strip()}\n\n" for question, solution in shots) + prompt
    turns = [[*question, {"role": "assistant", "content": solution}] for question, solution in shots]
    return [message for turn in turns for message in turn] + list(prompt)


def ask_for(prompt, budget: int):
    """A prompt that names the budget in words: the baseline of a model that knows no budgets."""
    sentence = ASK.format(budget)
    if isinstance(prompt, str):
        return f"{sentence}\n\n{prompt}"
    *before, last = prompt
    return [*before, {**last, "content": f"{last['content']}\n\n{sentence}"}]


def fingerprint(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def thinking_bound(budget: int, enforce: str) -> int:
    """Thinking tokens at which an enforced budget closes the thinking."""
    return int(budget * (1 + GRACE if enforce == "soft" else 1))


def encode_job(model, tokenizer, job: Job) -> list[list[int]]:
    """Token ids of each problem's prompt, asking for the budget. UserError where the model cannot be asked."""
    budget, baseline = job.budget, job.settings["baseline"]
    rung = None
    if budget != 0:  # without thinking there is nothing to tell from the answer
        check_decodable(tokenizer, job.task.think_end)
    if (budget is not None or job.price is not None) and single_id(tokenizer, job.task.think_end) is None:
        raise UserError(f"a budget needs the token {job.task.think_end!r}, which the tokenizer does not have")
    if budget and baseline is None:
        try:
            rung = round_down(budget, ladder_of(model.config, tokenizer))
        except UserError as error:
            raise UserError(f"{error}; or measure it with --baseline truncation or prompt") from error
    encoded = []
    for problem in job.problems:
        prompt = ask_for(problem["prompt"], budget) if budget and baseline == "prompt" else problem["prompt"]
        encoded.append(encode(tokenizer, prompt, rung, budget == 0, THINK_START, job.task.think_end))
    context = getattr(model.config, "max_position_embeddings", None)
    longest = max(map(len, encoded))
    if context and longest + job.settings["max_completion_length"] > context:
        raise UserError(
            f"a prompt of {longest} tokens and a completion of {job.settings['max_completion_length']} do not fit into "
            f"the {context} tokens of the model's context ({job.task.name}): lower --max_completion_length"
            + (" or --num_fewshot" if job.settings["num_fewshot"] else "")
        )
    return encoded
