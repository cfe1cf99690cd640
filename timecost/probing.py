"""Thoughts on a task's problems, sampled and probed: what a value head is fitted to and calibrated on."""

import json
import sys

from timecost.errors import UserError
from timecost.evaluation.sampling import sample_completions
from timecost.generation import encode, end_ids
from timecost.prompt_tokens import check_decodable, single_id
from timecost.value.probes import sample_answers, score_answers
from timecost.value.steps import step_rule
from timecost.value.traces import read_trace


def probe_problems(
    model,
    tokenizer,
    task,
    problems: list[dict],
    *,
    num_samples: int = 1,
    num_probe_samples: int = 4,
    max_probes: int | None = None,
    max_thinking_tokens: int | None = None,
    max_answer_tokens: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
):
    """Sample thoughts on problems (rows with `prompt` and `answer`) and probe them: a ProbedTraces.

    The problem of a trace is its row, or the first one like it. Answers are scored by their probability
    where the task's are exact, else sampled `num_probe_samples` times and verified; how many of them were cut is said.
    A problem whose answer is None is solved by nothing. Raises UserError where the tokenizer cannot close a thought.
    """
    think_end_id = single_id(tokenizer, task.think_end)
    if think_end_id is None:
        raise UserError(f"the tokenizer has no token {task.think_end!r}: there is no thinking to close")
    check_decodable(tokenizer, task.think_end)
    eos_ids = end_ids(model, tokenizer)
    rule = step_rule(tokenizer, task.step_end)
    rows = [i for i in range(len(problems)) for _ in range(num_samples)]
    encoded = [encode(tokenizer, row["prompt"], None, False, "<think>", task.think_end) for row in problems]
    limit = max_thinking_tokens or task.max_completion_length
    max_answer_tokens = max_answer_tokens or min(512, max(1, task.max_completion_length // 2))
    first_of: dict = {}
    numbers = [first_of.setdefault(prompt_key(row), i) for i, row in enumerate(problems)]
    completions = sample_completions(
        model, tokenizer, [encoded[i] for i in rows], max_new_tokens=limit + 1, seed=seed, batch_size=batch_size,
    )  # fmt: skip
    traces = [
        read_trace(numbers[i], encoded[i], c.completion_ids, think_end_id, eos_ids, rule, limit)
        for i, c in zip(rows, completions, strict=True)
    ]
    if task.exact_answer:
        answers = [
            None if p["answer"] is None else tokenizer.encode(p["answer"], add_special_tokens=False) for p in problems
        ]
        return score_answers(
            model, traces, [answers[i] for i in rows], [think_end_id], tokenizer.eos_token_id, max_probes=max_probes,
            seed=seed, batch_size=min(64, batch_size),
        )  # fmt: skip

    cut = []  # whether each answer was

    def sample(prefixes):
        found = sample_completions(
            model, tokenizer, prefixes, max_new_tokens=max_answer_tokens, seed=seed + 1, batch_size=batch_size,
        )  # fmt: skip
        cut.extend(not c.finished for c in found)
        return [c.completion_ids for c in found]

    def verify(texts, indices):
        gold = [problems[i]["answer"] for i in indices]
        solvable = [k for k, answer in enumerate(gold) if answer is not None]
        scores: list[float | None] = [0.0] * len(texts)
        verdicts = task.verify([texts[k] for k in solvable], [gold[k] for k in solvable])
        for k, verdict in zip(solvable, verdicts, strict=True):
            scores[k] = None if verdict.status == "verifier_error" else verdict.score
        return scores

    found = sample_answers(
        model, tokenizer, traces, verify, sample, [think_end_id], num_samples=num_probe_samples, max_probes=max_probes,
        seed=seed,
    )  # fmt: skip
    if sum(cut) > 0.01 * len(cut):
        print(
            f"warning: {100 * sum(cut) / len(cut):.0f} % of the answers were cut at {max_answer_tokens} tokens and may "
            "count as wrong for that: raise --max_answer_tokens",
            file=sys.stderr,
        )
    return found


def prompt_key(row: dict) -> str:
    return json.dumps([row["prompt"], row["answer"]], sort_keys=True)


def distinct(problems: list[dict]) -> list[dict]:
    """The first of the rows with each prompt and answer."""
    first: dict = {}
    for row in problems:
        first.setdefault(prompt_key(row), row)
    return list(first.values())


def load_rows(task, tokenizer, split: str, num_problems: int | None, seed: int) -> list[dict]:
    """The problems of a split as rows with `prompt` and `answer`."""
    return list(task.load(split, num_problems, seed, conversational=tokenizer.chat_template is not None))
