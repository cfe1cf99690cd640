"""What each step of a sample was worth: probes of samples that are there, written to value.json for the report.

At every step boundary the thinking is closed and the model's probability of the right answer read off, so it takes the
models and a task whose answers are exact. Where a value head lies beside a model, its forecast is measured too. Of a
B'MOJO, on any task, it is read which tokens its eidetic memory kept.
"""

from pathlib import Path

from timecost.errors import UserError
from timecost.evaluation import figures
from timecost.evaluation.records import problem_key
from timecost.evaluation.results import key_of, read_results, read_samples, write_json
from timecost.evaluation.value_data import VALUE, measured_head, steps_of
from timecost.evaluation.viewer import most_telling


def probe_folder(folder: str | Path, num_problems: int) -> Path:
    """Probe the first sample of every record on `num_problems` problems of each task, and write value.json.

    The problems are those on which the records differ most in their share of right samples. Raises UserError when a
    model cannot be loaded, and when nothing can be probed.
    """
    from timecost.tasks import get_task

    results, samples = read_results(folder), read_samples(folder)
    first: dict[tuple, dict[str, dict]] = {}  # record -> problem -> its first sample
    for row in samples:
        first.setdefault(key_of(row), {}).setdefault(problem_key(row), row)
    heads, rows = [], []
    records = [r for r in results["records"] if r.get("model_name_or_path") and not r.get("baseline")]
    for task_name in dict.fromkeys(record["task"] for record in records):
        task = get_task(task_name)
        chosen = most_telling([row for row in samples if row["task"] == task_name], num_problems)
        for model in dict.fromkeys(record["model_name_or_path"] for record in records):
            here = [
                r for r in records if (r["task"], r["model_name_or_path"]) == (task_name, model) and r["budget"] != "0"
            ]
            if here and (task.exact_answer or is_bmojo(model)):
                found, head = probe_model(model, task, here, first, chosen)
                rows += found
                heads += [head] if head else []
    if not rows:
        raise UserError(
            f"no sample in '{folder}' can be probed: it takes a task whose answers are exact, such as arithmetic, or a "
            "B'MOJO, and models that were evaluated without --baseline"
        )
    path = Path(folder) / VALUE
    write_json(path, {"heads": heads, "samples": rows})
    return path


def is_bmojo(model_name: str) -> bool:
    """Whether the configuration of a model says so; false where there is none to read."""
    from transformers import AutoConfig

    import timecost.models.bmojo  # noqa: F401  registers the class
    from timecost.tasks import resolve_model

    try:
        return AutoConfig.from_pretrained(resolve_model(model_name)).model_type == "bmojo"
    except (OSError, ValueError):
        return False


def probe_model(
    model_name: str, task, records: list[dict], first: dict, chosen: set[str]
) -> tuple[list[dict], dict | None]:
    """The samples of a model with the values of their steps and what its memory kept, and its head's measures on all
    problems, if it has one."""
    from timecost.loading import load_model_to_use
    from timecost.tasks import resolve_model
    from timecost.value.head import has_value_head, load_value_head

    model, tokenizer = load_model_to_use(model_name)
    rows = [row for record in records for key, row in first.get(key_of(record), {}).items() if key in chosen]
    rows, traces = read_rows(model, tokenizer, task, rows)
    out = [dict(row) for row in rows]
    if getattr(model.config, "eidetic_size", 0):
        for row, trace in zip(out, traces, strict=True):
            row["memory"] = memory_of(model, tokenizer, trace.prompt_ids, row["completion"])
    if not task.exact_answer:
        return out, None
    decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=True)  # noqa: E731
    found = score_rows(model, tokenizer, task, rows, traces)
    for i, (row, trace) in enumerate(zip(out, traces, strict=True)):
        at = found.trace == i
        row |= steps_of(decode, trace.thinking_ids, found.position[at].tolist(), found.value[at].tolist())
    folder = resolve_model(model_name)
    if not has_value_head(folder):
        return out, None
    head = load_value_head(model, folder)
    loosest = max(records, key=figures.budget_order)
    rows, traces = read_rows(model, tokenizer, task, list(first.get(key_of(loosest), {}).values()))
    found = score_rows(model, tokenizer, task, rows, traces)
    measured = measured_head(
        loosest["model"], task.name, trace=found.trace, position=found.position, value=found.value,
        forecast=head.cpu().forecast(found).value[:, 0], num_thinking=found.num_thinking, end_value=found.end_value,
    )  # fmt: skip
    kept = head.config.calibration
    return out, measured | ({"guarantee": kept} if kept and kept["task"] == task.name else {})


def read_rows(model, tokenizer, task, rows: list[dict]) -> tuple[list[dict], list]:
    """Those of the rows whose thinking can be read back into token ids, and their traces."""
    from timecost.budget import ladder_of, round_down
    from timecost.generation import encode
    from timecost.value.steps import step_boundaries, step_rule
    from timecost.value.traces import Trace

    rule = step_rule(tokenizer, task.step_end)
    kept, traces = [], []
    for row in rows:
        thinking, closed, _ = row["completion"].partition(task.think_end)
        ids = tokenizer.encode(thinking, add_special_tokens=False)
        if len(ids) == row["thinking_tokens"]:
            rung = (
                round_down(int(row["budget"]), ladder_of(model.config, tokenizer)) if figures.is_bounded(row) else None
            )
            prompt_ids = encode(tokenizer, row["prompt"], rung, False, "<think>", task.think_end)
            kept.append(row)
            traces.append(Trace(len(traces), prompt_ids, ids, bool(closed), step_boundaries(ids, rule)))
    if not traces:
        raise UserError(f"the tokenizer does not read the samples of {task.name} back as they were written")
    return kept, traces


def score_rows(model, tokenizer, task, rows: list[dict], traces: list):
    """The probes of all boundaries of the traces of rows. UserError where the tokenizer cannot close a thought."""
    from timecost.prompt_tokens import think_end_id
    from timecost.value.probes import score_answers

    answers = [tokenizer.encode(str(row["answer"]), add_special_tokens=False) for row in rows]
    close_ids = [think_end_id(tokenizer, task.think_end)]
    return score_answers(model, traces, answers, close_ids, tokenizer.eos_token_id)


def memory_of(model, tokenizer, prompt_ids: list[int], completion: str) -> dict:
    """`memory` of a sample of a B'MOJO, as value.json holds it: see timecost.evaluation.value_data."""
    import torch

    from timecost.models.bmojo.memory import kept_positions, stays

    ids = [*prompt_ids, *tokenizer.encode(completion, add_special_tokens=False)]
    texts, before = [], ""
    for i in range(len(ids)):  # two tokens at a time, as some tokenizers drop a space at the beginning
        both = tokenizer.decode(ids[max(0, i - 1) : i + 1])
        texts.append(both.removeprefix(before))
        before = tokenizer.decode(ids[i : i + 1])
    kept = kept_positions(model, torch.tensor([ids], device=model.device))
    return {
        "window": model.config.sliding_window, "size": model.config.eidetic_size, "num_prompt": len(prompt_ids),
        "tokens": texts, "layers": stays(kept[:, 0]),
    }  # fmt: skip
