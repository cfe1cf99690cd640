"""From a model and a task to samples on the disk, batch by batch: what is interrupted goes on, what is shared adds up.

A job is one model on one task at one budget. Its plan of batches is a pure function of its problems and settings, and
batch i belongs to process i modulo their number. A batch is sampled, judged, and written as a file of its own in one
step: a process that is killed loses the batch in its hands and nothing else. The process that finds all batches of a
job there makes its record and removes them.

    OUTPUT_PATH/unfinished/JOB/settings.json
    OUTPUT_PATH/unfinished/JOB/batch-00000.jsonl      one sample a line
"""

import contextlib
import fcntl
import hashlib
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from timecost.errors import UserError
from timecost.evaluation.records import make_record
from timecost.evaluation.results import (
    RESULTS,
    budget_text,
    finite,
    key_of,
    locked,
    make_folder,
    read_lines,
    read_results,
    read_samples,
    replacing,
    write_results,
)
from timecost.tasks import Task

UNFINISHED, SETTINGS = "unfinished", "settings.json"
BASELINES = ("truncation", "prompt", "no_thinking")
HELD = ("soft", "hard")  # of what a record says of `enforce`: a bound is held
THINK_START = "<think>"
ASK = "Use at most {} tokens of thinking."  # the baseline `prompt`
# Of a record: what its samples depend on. `problems` and `model` are fingerprints.
SHAPING = (
    "split", "num_samples", "temperature", "seed", "batch_size", "max_completion_length", "max_answer_tokens",
    "num_fewshot", "baseline", "device", "problems_fingerprint", "model_fingerprint", "cost_coefficients",
    "least_value", "decline_novel", "clip", "value_head_fingerprint",
)  # fmt: skip


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


def processes() -> tuple[int, int]:
    """Rank of this process and number of processes, as accelerate and torchrun tell them."""
    try:
        rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    except ValueError:
        rank, world_size = 0, 0
    if not 0 <= rank < world_size:
        raise UserError(
            f"RANK is {os.environ.get('RANK')!r} and WORLD_SIZE {os.environ.get('WORLD_SIZE')!r}: "
            "a launcher sets both, RANK from 0 to WORLD_SIZE - 1; or unset them"
        )
    return rank, world_size


# What is asked --------------------------------------------------------------------------------------------------------


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
    jobs = []
    for budget, price in [*((budget, None) for budget in budgets), *((None, price) for price in prices)]:
        enforce = "hard" if settings.baseline == "truncation" else settings.enforce
        enforce = enforce if budget else "none" if price is None else "value"  # nothing is enforced without a bound
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
    """Problems of the split with prompt, answer and difficulty; the prompts hold the examples that were asked for."""
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
    return [{**problem, "prompt": with_shots(shots, problem["prompt"])} for problem in problems]


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
    from timecost.generation import GRACE

    return int(budget * (1 + GRACE if enforce == "soft" else 1))


# What is there already ------------------------------------------------------------------------------------------------


def check_folder(folder: Path) -> list[dict]:
    """The records in a folder of results. UserError for those of another version, which may mean another thing."""
    from timecost import __version__

    if not (folder / RESULTS).exists():
        return []
    results = read_results(folder)
    version = results.get("provenance", {}).get("versions", {}).get("timecost", __version__)
    if version != __version__:
        raise UserError(
            f"'{folder}' was written by timecost {version}, this is {__version__}: name another --output_path"
        )
    return results["records"]


def is_finished(folder: Path, job: Job, records: list[dict]) -> bool:
    """Whether the record of a job is there. UserError when it, or what is there of it, was made in another way."""
    part = folder / job.folder / SETTINGS
    for record in records:
        if key_of(record) == job.key:
            check_same(folder, job, record, "holds")
            return True
    if part.exists():
        from timecost import __version__

        stored = json.loads(part.read_text(encoding="utf-8"))
        if stored.pop("version") != __version__:
            raise UserError(
                f"'{folder}' holds a part of {job.name} by another version of timecost: start it anew with --overwrite"
            )
        check_same(folder, job, stored, "holds a part of")
    return False


def check_same(folder: Path, job: Job, stored: dict, holds: str) -> None:
    """UserError that names what differs between a job and what is stored of it."""
    asked = finite(job.settings)
    others = {"problems_fingerprint": "other problems", "model_fingerprint": "another model",
              "value_head_fingerprint": "another value head", "cost_coefficients": "another cost model"}  # fmt: skip
    said = [
        others.get(name, f"{name} {stored.get(name, 'unknown')} (asked for: {asked[name]})")
        for name in SHAPING
        if name in asked and stored.get(name, "unknown") != asked[name]
    ]
    if said:
        raise UserError(
            f"'{folder}' {holds} {job.name}, made with {', '.join(said)}: ask for the same, name another --output_path "
            "or --label, or replace it with --overwrite"
        )


def discard(folder: Path, jobs: list[Job]) -> None:
    """Forget the unfinished parts of jobs. Every process calls it; none goes on before it is done."""
    rank, world_size = processes()
    if world_size > 1 and "MASTER_ADDR" not in os.environ:
        raise UserError("--overwrite in several processes needs accelerate launch or torchrun to start them")
    if rank == 0:
        for job in jobs:
            shutil.rmtree(folder / job.folder, ignore_errors=True)
    if world_size > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


# Sampling -------------------------------------------------------------------------------------------------------------


def encode_job(model, tokenizer, job: Job) -> list[list[int]]:
    """Token ids of each problem's prompt, asking for the budget. UserError where the model cannot be asked."""
    from timecost.budget import ladder_of, round_down
    from timecost.generation import encode

    budget, baseline = job.budget, job.settings["baseline"]
    rung = None
    if (budget is not None or job.price is not None) and token_id(tokenizer, job.task.think_end) is None:
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


def plan(job: Job, encoded: list[list[int]]) -> list[list[tuple[int, int]]]:
    """The batches of a job, as (problem, sample)."""
    from timecost.evaluation.sampling import plan_batches

    num_samples = job.settings["num_samples"]
    lengths = [len(ids) for ids in encoded for _ in range(num_samples)]
    return [[divmod(i, num_samples) for i in batch] for batch in plan_batches(lengths, job.settings["batch_size"])]


def num_batches(job: Job) -> int:
    return -(-len(job.problems) * job.settings["num_samples"] // job.settings["batch_size"])


def sample(model, tokenizer, job: Job, encoded: list[list[int]], batch: list[tuple[int, int]], decides=None):
    """The completions of a batch, and the seconds that a sample of it took. `decides`: see `value_of`."""
    from timecost.counter_sampler import stream_key
    from timecost.evaluation.sampling import sample_batch

    # at a price the numbers are those of no bound: thoughts are the same up to where the head stops them
    settings, budget = job.settings, budget_text(job.budget)
    prompts = [encoded[problem] for problem, _ in batch]
    guard, length = guard_of(model, tokenizer, job, len(batch))
    decider = None if decides is None else decides(list(map(len, prompts)))
    keys = [stream_key(settings["seed"], job.task.name, problem, one, budget) for problem, one in batch]
    start = time.perf_counter()
    with contextlib.nullcontext() if decider is None else decider:
        completions = sample_batch(
            model, tokenizer, prompts, keys, max_new_tokens=length, temperature=settings["temperature"],
            guard=guard if decider is None else lambda width: decider,
        )  # fmt: skip
    seconds = (time.perf_counter() - start) / len(batch)
    if decider is not None:
        told = zip(completions, decider.causes, decider.looks.tolist(), strict=True)
        completions = [replace(one, stop_cause=cause, looks=looks) for one, cause, looks in told]
    return completions, seconds


def value_of(model, tokenizer, job: Job) -> Callable | None:
    """What decides in a batch of prompts of given lengths, in tokens: the value head of a job at a price, else None."""
    if job.price is None:
        return None
    from timecost.cost import load_cost_model
    from timecost.generation import end_ids
    from timecost.tasks import resolve_model
    from timecost.value.head import load_value_head
    from timecost.value.stopping import ValueGuard, rule_at

    settings = job.settings
    head = load_value_head(model, settings["value_head"] or resolve_model(settings["model_name_or_path"]))
    rule, said = rule_at(
        job.price, load_cost_model(settings["cost_model"], model.config), head, task=job.task.name,
        **{name: settings[name] for name in ("least_value", "decline_novel", "clip")},
    )  # fmt: skip
    for line in said:
        print(line, file=sys.stderr)
    think_end, eos_id = token_id(tokenizer, job.task.think_end), end_ids(model, tokenizer)[0]
    return lambda lengths: ValueGuard(
        model, head, rule, [False] * len(lengths), max(lengths), think_end, eos_id, lengths
    )  # fmt: skip


def guard_of(model, tokenizer, job: Job, size: int) -> tuple[Callable | None, int]:
    """What holds the bound of an enforced budget in a batch (None: nothing does), and the bound of a completion."""
    if job.enforce not in HELD:
        return None, job.settings["max_completion_length"]
    from timecost.forcing import BudgetGuard
    from timecost.generation import end_ids

    bound, answer = thinking_bound(job.budget, job.enforce), job.settings["max_answer_tokens"]
    think_end, reopen = token_id(tokenizer, job.task.think_end), token_id(tokenizer, THINK_START)
    eos_ids, reopen_ids = end_ids(model, tokenizer), [] if reopen is None else [reopen]

    def guard(width: int):
        return BudgetGuard([bound] * size, [False] * size, width, think_end, eos_ids, reopen_ids, answer)

    return guard, bound + 1 + answer + 1


def judge(tokenizer, job: Job, batch: list[tuple[int, int]], completions, seconds: float) -> list[dict]:
    """The samples of a batch as rows of samples.jsonl."""
    texts = tokenizer.batch_decode([c.completion_ids for c in completions], skip_special_tokens=True)
    from timecost.prompt_tokens import opened_thinking

    # what the prompt has closed, or opened; verifiers read what stands behind the end of thinking
    opened = opened_thinking(tokenizer, job.problems[0]["prompt"])
    closed = [(job.task.think_end if job.budget == 0 else opened) + text for text in texts]
    verdicts = job.task.verify(closed, [job.problems[problem]["answer"] for problem, _ in batch])
    think_end_id = token_id(tokenizer, job.task.think_end)
    model, task, _, enforce = job.key
    at_price = job.price is not None
    budget = {"budget": "auto", "price": job.price} if at_price else {"budget": budget_text(job.budget)}
    rows = []
    for (index, one), completion, text, whole, verdict in zip(batch, completions, texts, closed, verdicts, strict=True):
        problem = job.problems[index]
        thinking, answer = (0, len(completion.completion_ids)) if job.budget == 0 else count_tokens(
            completion.completion_ids, think_end_id
        )  # fmt: skip
        row = {
            "model": model, "task": task, **budget, "enforce": enforce, "problem": index, "sample": one,
            "prompt": problem["prompt"], "answer": problem["answer"], "difficulty": problem.get("difficulty"),
            "completion": text, "status": verdict.status, "score": verdict.score, "reason": verdict.reason,
            "thinking_tokens": thinking, "answer_tokens": answer, "finished": completion.finished,
            "stop_cause": stop_cause(job, completion, thinking, answer), "seconds": round(seconds, 6),
            "answered": bool(answer_text(whole, job.task.think_end, completion.finished).strip()),
            **({"looks": completion.looks} if at_price else {}),
        }  # fmt: skip
        if job.task.style_of is not None:
            row["style"] = job.task.style_of(whole)
        rows.append(row)
    return rows


def stop_cause(job: Job, completion, thinking: int, answer: int) -> str:
    """natural, budget (the thinking was closed at the bound, or closed itself there) or length (something was cut).

    At a price also value (the head stopped the thinking) and declined.
    """
    if not completion.finished or (job.enforce in HELD and answer > job.settings["max_answer_tokens"] + 1):
        return "length"
    held = job.enforce in HELD and thinking >= thinking_bound(job.budget, job.enforce)
    return completion.stop_cause or ("budget" if held else "natural")


def token_id(tokenizer, token: str) -> int | None:
    """Id of `token`, None when the tokenizer does not know it as one token."""
    from timecost.prompt_tokens import single_id

    return single_id(tokenizer, token)


def count_tokens(completion_ids: list[int], think_end_id: int | None) -> tuple[int, int]:
    """Thinking and answer tokens; a model without an end-of-thinking token only answers."""
    from timecost.cost import split_tokens

    return (0, len(completion_ids)) if think_end_id is None else split_tokens(completion_ids, think_end_id)


def answer_text(text: str, think_end: str, finished: bool) -> str:
    """What follows the end of thinking; all of a finished completion that has none."""
    before, closed, after = text.partition(think_end)
    return after if closed else before if finished else ""


# Running --------------------------------------------------------------------------------------------------------------


def run_jobs(
    folder: str | Path, jobs: list[Job], load_model: Callable, *, references: dict[str, list[dict]] | None = None,
    overwrite: bool = False, report: Callable[[dict | None, Job], None] = lambda record, job: None,
) -> list[dict | None]:  # fmt: skip
    """Bring jobs to their records in a folder of results; this process does its share.

    `load_model()` gives model and tokenizer, and is called when something has to be sampled. `references` are samples
    by task to compare with. What is finished is not sampled again, what is unfinished goes on, unless `overwrite`.
    `report(record, job)` is called as each record is there; with None for a job of which other processes still hold a
    share. Returns the records in the order of the jobs. Raises UserError for results that were made in another way, of
    another version, or that another process is writing.
    """
    from tqdm import tqdm

    folder, references = make_folder(folder), references or {}
    rank, world_size = processes()
    records = check_folder(folder)
    if overwrite:
        discard(folder, jobs)
    finished = [not overwrite and is_finished(folder, job, records) for job in jobs]
    missing = {job.key: missing_batches(folder, job) for job, done in zip(jobs, finished, strict=True) if not done}
    loaded, encoded = None, {}
    if any(missing.values()):
        loaded = load_model()
        # a budget that the model does not know must not cost the time of the others
        encoded = {job.key: encode_job(*loaded, job) for job in jobs if missing.get(job.key)}
    mine = sum(len(job_share(missing[job.key])) for job in jobs if job.key in missing)
    out = []
    # disable=None: no bar unless stderr is a terminal
    with how_to_go_on(), tqdm(total=mine, unit="batch", disable=None if rank == 0 else True, leave=False) as bar:
        for job, done in zip(jobs, finished, strict=True):
            reference = references.get(job.task.name)
            if not done:
                if missing[job.key]:
                    bar.set_description(f"{job.task.name}, budget {job.key[2]}")
                    run_job(folder, job, *loaded, encoded[job.key], missing[job.key], bar)
                record, tells = collect(folder, job, reference)
            else:
                record, tells = finished_record(folder, job, reference if rank == 0 else None), rank == 0
            if tells:
                bar.clear()
                report(record, job)
            out.append(record)
    return out


@contextlib.contextmanager
def how_to_go_on():
    """Ctrl-C and SIGTERM pass, with a word on what becomes of the work."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise type(stop)("(finished batches are kept: the same command goes on)") from None


def missing_batches(folder: Path, job: Job) -> list[int]:
    return [number for number in range(num_batches(job)) if not batch_path(folder, job, number).exists()]


def batch_path(folder: Path, job: Job, number: int) -> Path:
    return folder / job.folder / f"batch-{number:05d}.jsonl"


def job_share(batches: list[int]) -> list[int]:
    """Those of the batches that are this process's: whatever is missing, no two processes take the same."""
    rank, world_size = processes()
    return [number for number in batches if number % world_size == rank]


def run_job(folder: Path, job: Job, model, tokenizer, encoded: list[list[int]], missing: list[int], bar) -> None:
    """Sample, judge and write this process's share of the missing batches; verifying overlaps with sampling."""
    from timecost import __version__

    part = make_folder(folder / job.folder)
    batches = plan(job, encoded)
    with alone(part), ThreadPoolExecutor(1) as beside:
        with replacing(part / SETTINGS) as file:
            json.dump({**finite(job.settings), "version": __version__}, file)
        waiting, decides = None, value_of(model, tokenizer, job)
        for number in job_share(missing):
            completions, seconds = sample(model, tokenizer, job, encoded, batches[number], decides)
            if waiting is not None:
                waiting.result()
            path = batch_path(folder, job, number)
            waiting = beside.submit(write_batch, path, tokenizer, job, batches[number], completions, seconds)
            bar.update()
        if waiting is not None:
            waiting.result()


def write_batch(path: Path, tokenizer, job: Job, batch, completions, seconds: float) -> None:
    rows = judge(tokenizer, job, batch, completions, seconds)
    with replacing(path) as file:
        for row in rows:
            file.write(json.dumps(finite(row), ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def alone(part: Path):
    """Hold a process's share of an unfinished job; the system lets go of it when the process dies."""
    rank, _ = processes()
    with open(part / f"process-{rank}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"'{part}' is being written by another process: wait for it, or name another --output_path"
            ) from None
        yield


def collect(folder: Path, job: Job, reference: list[dict] | None) -> tuple[dict | None, bool]:
    """The record of a job whose batches are all there, written with its samples, and whether to tell of it.

    None while some are missing; a record that another process has just made is its own to tell.
    """
    part = folder / job.folder
    with contextlib.suppress(FileNotFoundError), locked(part):
        if missing_batches(folder, job):
            if part.exists():
                return None, True
            raise FileNotFoundError
        rows = [row for number in range(num_batches(job)) for row in read_lines(batch_path(folder, job, number))]
        rows.sort(key=lambda row: (row["problem"], row["sample"]))
        found = [(row["problem"], row["sample"]) for row in rows]
        if found != [(i, j) for i in range(len(job.problems)) for j in range(job.settings["num_samples"])]:
            raise UserError(f"'{part}' holds other samples than were asked for: start it anew with --overwrite")
        record = make_record(rows, job.settings, reference)
        write_results(folder, record, rows)
        shutil.rmtree(part)
        with contextlib.suppress(OSError):
            part.parent.rmdir()  # when it was the last unfinished one
        return record, True
    return finished_record(folder, job, None), False


def finished_record(folder: Path, job: Job, reference: list[dict] | None) -> dict:
    """The record that is there, compared anew when there is a reference."""
    shutil.rmtree(folder / job.folder, ignore_errors=True)  # left by a kill between the record and its end
    with contextlib.suppress(OSError):
        (folder / UNFINISHED).rmdir()
    if reference is None:
        return next(record for record in check_folder(folder) if key_of(record) == job.key)
    rows = read_samples(folder, lambda row: key_of(row) == job.key)
    record = make_record(rows, job.settings, reference)
    write_results(folder, record, rows)
    return record
