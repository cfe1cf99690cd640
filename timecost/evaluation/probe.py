"""What each step of a sample was worth: probes of samples that are there, written to value.json for the report.

At every step boundary the thinking is closed and the model's probability of the right answer read off, so it takes the
models and a task whose answers are exact. Where a value head lies beside a model, its forecast is measured too.
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
        if not task.exact_answer:
            continue
        chosen = most_telling([row for row in samples if row["task"] == task_name], num_problems)
        for model in dict.fromkeys(record["model_name_or_path"] for record in records):
            here = [
                r for r in records if (r["task"], r["model_name_or_path"]) == (task_name, model) and r["budget"] != "0"
            ]
            if here:
                found, head = probe_model(model, task, here, first, chosen)
                rows += found
                heads += [head] if head else []
    if not rows:
        raise UserError(
            f"no sample in '{folder}' can be probed: it takes a task whose answers are exact, such as arithmetic, and "
            "models that were evaluated without --baseline"
        )
    path = Path(folder) / VALUE
    write_json(path, {"heads": heads, "samples": rows})
    return path


def probe_model(
    model_name: str, task, records: list[dict], first: dict, chosen: set[str]
) -> tuple[list[dict], dict | None]:
    """The samples of a model with the values of their steps, and its head's measures on all problems, if it has one."""
    from timecost.evaluation.evaluate import load_model
    from timecost.tasks import resolve_model
    from timecost.value.head import has_value_head, load_value_head

    model, tokenizer = load_model(model_name)
    rows = [row for record in records for key, row in first.get(key_of(record), {}).items() if key in chosen]
    rows, traces, found = probe_rows(model, tokenizer, task, rows)
    decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=True)  # noqa: E731
    out = []
    for i, (row, trace) in enumerate(zip(rows, traces, strict=True)):
        at = found.trace == i
        values = steps_of(decode, trace.thinking_ids, found.position[at].tolist(), found.value[at].tolist())
        out.append({**row, **values})
    folder = resolve_model(model_name)
    if not has_value_head(folder):
        return out, None
    head = load_value_head(model, folder)
    loosest = max(records, key=figures.budget_order)
    _, traces, found = probe_rows(model, tokenizer, task, list(first.get(key_of(loosest), {}).values()))
    measured = measured_head(
        loosest["model"], task.name, trace=found.trace, position=found.position, value=found.value,
        forecast=head.cpu().forecast(found).value[:, 0], num_thinking=found.num_thinking, end_value=found.end_value,
    )  # fmt: skip
    kept = head.config.calibration
    return out, measured | ({"guarantee": kept} if kept and kept["task"] == task.name else {})


def probe_rows(model, tokenizer, task, rows: list[dict]) -> tuple[list[dict], list, object]:
    """Those of the rows whose thinking can be read back into token ids, their traces, and the probes of all."""
    from timecost.budget import ladder_of, round_down
    from timecost.generation import encode, single_id
    from timecost.value.probes import Trace, score_answers, step_boundaries, step_rule

    rule, think_end_id = step_rule(tokenizer, task.step_end), single_id(tokenizer, task.think_end)
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
    answers = [tokenizer.encode(str(row["answer"]), add_special_tokens=False) for row in kept]
    if not traces:
        raise UserError(f"the tokenizer does not read the samples of {task.name} back as they were written")
    return kept, traces, score_answers(model, traces, answers, [think_end_id], tokenizer.eos_token_id)
