"""The batches of a job: planned, sampled, and judged into the rows of samples.jsonl."""

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from timecost.cost import load_cost_model, split_tokens
from timecost.counter_sampler import stream_key
from timecost.evaluation.jobs import HELD, THINK_START, Job, thinking_bound
from timecost.evaluation.results import budget_text
from timecost.evaluation.sampling import plan_batches, sample_batch
from timecost.forcing import BudgetGuard
from timecost.generation import end_ids
from timecost.prompt_tokens import leaves_open, opened_thinking, single_id
from timecost.tasks import resolve_model


def plan(job: Job, encoded: list[list[int]]) -> list[list[tuple[int, int]]]:
    """The batches of a job, as (problem, sample)."""
    num_samples = job.settings["num_samples"]
    lengths = [len(ids) for ids in encoded for _ in range(num_samples)]
    return [[divmod(i, num_samples) for i in batch] for batch in plan_batches(lengths, job.settings["batch_size"])]


def num_batches(job: Job) -> int:
    return -(-len(job.problems) * job.settings["num_samples"] // job.settings["batch_size"])


def sample(model, tokenizer, job: Job, encoded: list[list[int]], batch: list[tuple[int, int]], decides=None):
    """The completions of a batch, and the seconds that a sample of it took. `decides`: see `value_of`."""
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
    think_end, eos_ids = single_id(tokenizer, job.task.think_end), end_ids(model, tokenizer)
    return lambda lengths: ValueGuard(
        model, head, rule, [False] * len(lengths), max(lengths), think_end, eos_ids, lengths
    )


def guard_of(model, tokenizer, job: Job, size: int) -> tuple[Callable | None, int]:
    """What holds the bound of an enforced budget in a batch (None: nothing does), and the bound of a completion."""
    if job.enforce not in HELD:
        return None, job.settings["max_completion_length"]
    bound, answer = thinking_bound(job.budget, job.enforce), job.settings["max_answer_tokens"]
    think_end, reopen = single_id(tokenizer, job.task.think_end), single_id(tokenizer, THINK_START)
    eos_ids, reopen_ids = end_ids(model, tokenizer), [] if reopen is None else [reopen]

    def guard(width: int):
        return BudgetGuard([bound] * size, [False] * size, width, think_end, eos_ids, reopen_ids, answer)

    return guard, bound + 1 + answer + 1


def judge(tokenizer, job: Job, batch: list[tuple[int, int]], completions, seconds: float) -> list[dict]:
    """The samples of a batch as rows of samples.jsonl."""
    texts = tokenizer.batch_decode([c.completion_ids for c in completions], skip_special_tokens=True)
    # what the prompt has closed, or opened; verifiers read what stands behind the end of thinking
    opened = opened_thinking(tokenizer, job.problems[0]["prompt"])
    closed = [(job.task.think_end if job.budget == 0 else opened) + text for text in texts]
    verdicts = job.task.verify(closed, [job.problems[problem]["answer"] for problem, _ in batch])
    thinks = job.budget != 0 and leaves_open(tokenizer, job.problems[0]["prompt"], THINK_START, job.task.think_end)
    # a model without an end-of-thinking token only answers
    think_end_id = None if job.budget == 0 else single_id(tokenizer, job.task.think_end)
    model, task, _, enforce = job.key
    at_price = job.price is not None
    budget = {"budget": "auto", "price": job.price} if at_price else {"budget": budget_text(job.budget)}
    rows = []
    for (index, one), completion, text, whole, verdict in zip(batch, completions, texts, closed, verdicts, strict=True):
        problem = job.problems[index]
        ids = completion.completion_ids
        seen = THINK_START + text if thinks else whole
        began = THINK_START in seen or think_end_id in ids
        only_answer = think_end_id is None or (completion.finished and not began)
        thinking, answer = (0, len(ids)) if only_answer else split_tokens(ids, think_end_id)
        row = {
            "model": model, "task": task, **budget, "enforce": enforce, "problem": index, "sample": one,
            "prompt": problem["prompt"], "answer": problem["answer"], "difficulty": problem.get("difficulty"),
            "completion": text, "status": verdict.status, "score": verdict.score, "reason": verdict.reason,
            "thinking_tokens": thinking, "answer_tokens": answer, "finished": completion.finished,
            "stop_cause": stop_cause(job, completion, thinking, answer), "seconds": round(seconds, 6),
            "answered": bool(answer_text(seen, job.task.think_end, completion.finished).strip()),
            **({"looks": completion.looks} if at_price else {}),
        }  # fmt: skip
        if job.task.style_of is not None:
            row["style"] = job.task.style_of(whole)
        rows.append(row)
    return rows


def stop_cause(job: Job, completion, thinking: int, answer: int) -> str:
    """natural, budget (the thinking was closed at the bound, or closed itself there) or length (something was cut).

    An answer that took all of its reserve counts as cut: the guard forced its end, whether or not the model would have
    ended there. At a price also value (the head stopped the thinking) and declined.
    """
    if not completion.finished or (job.enforce in HELD and answer > job.settings["max_answer_tokens"] + 1):
        return "length"
    held = job.enforce in HELD and thinking >= thinking_bound(job.budget, job.enforce)
    return completion.stop_cause or ("budget" if held else "natural")


def answer_text(text: str, think_end: str, finished: bool) -> str:
    """What follows the end of thinking; all of a finished completion that never began to think."""
    before, closed, after = text.partition(think_end)
    if closed:
        return after
    return before if finished and THINK_START not in before else ""
