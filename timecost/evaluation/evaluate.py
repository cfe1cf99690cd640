"""`timecost evaluate`: sample a model on tasks, verify, measure, and add the records to a folder of results.

    timecost evaluate --model_name_or_path DIR --tasks arithmetic --num_problems 2000 --output_path results/

The steps are functions of their own: `sample_task` (model -> samples), `make_record` (samples -> measures) and
`compare` (samples of two models -> paired measures). docs/evaluation.md defines every measure.
"""

import argparse
from pathlib import Path

import numpy as np

from timecost.errors import UserError, nearest
from timecost.evaluation import metrics
from timecost.evaluation.metrics import named
from timecost.evaluation.results import (
    RESULTS,
    command_line,
    finite,
    key_of,
    make_folder,
    read_results,
    read_samples,
    write_json,
    write_results,
)

PROMPT_COST = 1.0  # tokens; TimeCostConfig's default
PASS_AT = (1, 2, 4, 8, 16, 32)


def evaluate(
    model_name_or_path: str,
    task: str,
    *,
    split: str = "test",
    budget: str = "inf",
    num_problems: int | None = None,
    num_samples: int = 8,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 256,
    max_completion_length: int | None = None,
    label: str | None = None,
    reference: list[dict] | None = None,
    output_path: str | Path | None = None,
) -> dict:
    """Evaluate one model on one task; returns its record, and writes it with its samples when `output_path` is given.

    `num_problems` None takes the whole split; the problems do not depend on `seed`, the samples do. `label` names the
    model in tables and figures (default: `model_name_or_path`). `reference` is another model's samples on the same
    problems (`read_samples`), to measure the speed-up against. Raises UserError for a model or a task that cannot be
    loaded and for a budget other than "inf".
    """
    check_settings(budget, num_problems, num_samples, temperature, batch_size, max_completion_length)
    from timecost.tasks import check_split, get_task

    task = get_task(task)
    check_split(task.name, split, task.splits)
    if output_path is not None:
        make_folder(output_path)
    model, tokenizer = load_model(model_name_or_path)
    label = label or str(model_name_or_path).rstrip("/")
    max_completion_length = max_completion_length or task.max_completion_length
    rows = sample_task(
        model, tokenizer, task, label=label, split=split, num_problems=num_problems, num_samples=num_samples,
        temperature=temperature, seed=seed, batch_size=batch_size, max_completion_length=max_completion_length,
    )  # fmt: skip
    settings = {
        "model_name_or_path": str(model_name_or_path), "split": split, "num_samples": num_samples,
        "temperature": temperature, "seed": seed, "batch_size": batch_size,
        "max_completion_length": max_completion_length,
    }  # fmt: skip
    record = make_record(rows, settings, reference)
    if output_path is not None:
        write_results(output_path, record, rows)
    return record


def check_settings(budget, num_problems, num_samples, temperature, batch_size, max_completion_length) -> None:
    """Raises UserError for a setting that cannot be evaluated."""
    if budget != "inf":
        raise UserError(f"budget '{budget}': budgets are not supported yet by this version, leave --budgets at inf")
    counts = {"num_problems": num_problems, "max_completion_length": max_completion_length}
    counts = {name: value for name, value in counts.items() if value is not None}
    for name, value in {**counts, "num_samples": num_samples, "batch_size": batch_size}.items():
        if value < 1:
            raise UserError(f"{name} is {value}: it must be at least 1")
    if not 0 <= temperature < float("inf"):
        raise UserError(f"temperature is {temperature}: it must be 0 (the likeliest token) or a positive number")


# Model -> samples -----------------------------------------------------------------------------------------------------


def load_model(model_name_or_path: str):
    """Model, on the GPU if there is one, and tokenizer, from a folder or a name.

    Raises UserError when the folder is missing, holds no weights, or what it holds cannot be loaded.
    """
    from timecost.tasks import resolve_model

    path = resolve_model(str(model_name_or_path))
    check_model_folder(path)
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    device = "cuda" if torch.cuda.is_available() else "cpu"
    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
        # half precision is slower than float32 on most processors
        model = AutoModelForCausalLM.from_pretrained(path, dtype="auto" if device == "cuda" else torch.float32)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"cannot load model '{model_name_or_path}': {line[:300]}") from error
    finally:
        if bar:
            logging.enable_progress_bar()
    return model.to(device).eval(), tokenizer


def check_model_folder(path: str) -> None:
    """Raises UserError when `path` is meant as a folder and holds no model; a name on the hub passes."""
    folder = Path(path).expanduser()
    if not folder.exists():
        if path.startswith((".", "/", "~")) or path.count("/") != 1:
            raise UserError(f"no model at '{path}': give a folder written by `timecost train`, or a name on the hub")
        return
    files = list(folder.iterdir()) if folder.is_dir() else []
    names = [file.name for file in files]
    if not {"config.json", "adapter_config.json"} & set(names):
        checkpoints = sorted(name for name in names if name.startswith("checkpoint-"))
        hint = f": did you mean '{folder / checkpoints[-1]}'?" if checkpoints else ""
        raise UserError(f"'{path}' is not the folder of a model, it holds no config.json{hint}")
    if not any(file.suffix in (".safetensors", ".bin") and file.stat().st_size for file in files):
        raise UserError(f"'{path}' holds a config.json and no weights (*.safetensors): train again or copy them there")


def sample_task(
    model, tokenizer, task, *, label: str, split: str = "test", num_problems: int | None = None, num_samples: int = 8,
    temperature: float = 1.0, seed: int = 0, batch_size: int = 256, max_completion_length: int | None = None,
) -> list[dict]:  # fmt: skip
    """Sample and verify: one row per (problem, sample), as samples.jsonl holds it."""
    from tqdm import tqdm

    from timecost.evaluation.sampling import sample_completions

    problems = list(task.load(split, num_problems, conversational=tokenizer.chat_template is not None))
    prompt_ids = [encode_prompt(tokenizer, problem["prompt"]) for problem in problems]
    completions = sample_completions(
        model,
        tokenizer,
        [ids for ids in prompt_ids for _ in range(num_samples)],
        max_new_tokens=max_completion_length or task.max_completion_length,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
        progress=f"{label} on {task.name}",
    )
    texts = tokenizer.batch_decode([c.completion_ids for c in completions], skip_special_tokens=True)
    answers = [problem["answer"] for problem in problems for _ in range(num_samples)]
    verdicts = []
    chunks = range(0, len(texts), 256)
    for start in tqdm(chunks, desc=f"verifying {task.name}", unit="batch", disable=None, leave=False):
        verdicts += task.verify(texts[start : start + 256], answers[start : start + 256])

    think_end_id = token_id(tokenizer, task.think_end)
    rows = []
    for i, (completion, text, verdict) in enumerate(zip(completions, texts, verdicts, strict=True)):
        problem = problems[i // num_samples]
        thinking, answer = count_tokens(completion.completion_ids, think_end_id)
        row = {
            "model": label, "task": task.name, "budget": "inf", "problem": i // num_samples, "sample": i % num_samples,
            "prompt": problem["prompt"], "answer": problem["answer"], "difficulty": problem.get("difficulty"),
            "completion": text, "status": verdict.status, "score": verdict.score, "reason": verdict.reason,
            "thinking_tokens": thinking, "answer_tokens": answer, "finished": completion.finished,
            "answered": bool(answer_text(text, task.think_end, completion.finished).strip()),
        }  # fmt: skip
        if task.style_of is not None:
            row["style"] = task.style_of(text)
        rows.append(row)
    return rows


def encode_prompt(tokenizer, prompt: str | list[dict]) -> list[int]:
    """Token ids of a prompt: plain text, or messages through the chat template."""
    if isinstance(prompt, str):
        return tokenizer(prompt)["input_ids"]
    return tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]


def token_id(tokenizer, token: str) -> int | None:
    """Id of `token`, None when the tokenizer does not know it as one token."""
    ids = tokenizer.encode(token, add_special_tokens=False)
    return ids[0] if len(ids) == 1 and ids[0] != tokenizer.unk_token_id else None


def count_tokens(completion_ids: list[int], think_end_id: int | None) -> tuple[int, int]:
    """Thinking and answer tokens; a model without an end-of-thinking token only answers."""
    from timecost.cost import split_tokens

    return (0, len(completion_ids)) if think_end_id is None else split_tokens(completion_ids, think_end_id)


def answer_text(text: str, think_end: str, finished: bool) -> str:
    """What follows the end of thinking; all of a finished completion that has none."""
    before, closed, after = text.partition(think_end)
    return after if closed else before if finished else ""


# Samples -> measures --------------------------------------------------------------------------------------------------


def make_record(rows: list[dict], settings: dict, reference: list[dict] | None = None) -> dict:
    """The record of one (model, task, budget) from its samples, and from those of a reference model if there is one.

    It is what JSON gives back: keys are strings, and what the data do not determine is None.
    """
    table = problem_table(rows)
    status = np.array([row["status"] for row in rows])
    thinking = np.array([row["thinking_tokens"] for row in rows])
    answer = np.array([row["answer_tokens"] for row in rows])
    scored, correct = table["num_scored"], table["num_correct"]
    most = int(scored.max(initial=0))
    model, task, budget = key_of(rows[0])
    record = {
        "model": model,
        "task": task,
        "budget": budget,
        "enforce": "none",
        **settings,
        "num_problems": len(scored),
        **named("accuracy", metrics.accuracy(scored, correct)),
        "pass_at_k": {k: metrics.pass_at_k(scored, correct, k) for k in PASS_AT if k <= most},
        **metrics.token_statistics(thinking, answer, status),
        **tokens_interval(table),
        "overshoot_rate": None,  # without a budget nothing can overshoot
        "answer_rate": share(row["answered"] for row in rows),
        "truncation_rate": share(not row["finished"] for row in rows),
        "verifier_error_rate": share(status == "verifier_error"),
        "styles": style_shares(rows),
        "by_difficulty": by_difficulty(rows),
        "by_style": by_style(rows),
        **compare(rows, reference),
    }
    return finite(record)


def problem_key(row: dict) -> str:
    """What makes two samples, of whatever model and run, samples of the same problem: its text and its answer."""
    prompt = row["prompt"] if isinstance(row["prompt"], str) else row["prompt"][-1]["content"]
    return f"{prompt}\n{row['answer']}"


def problem_table(rows: list[dict], keys: list[str] | None = None) -> dict[str, np.ndarray]:
    """Sums per problem (P,): num_samples, num_scored, num_correct, tokens_mean, cost_mean (of scored samples).

    Problems stand in the order of `keys` (default: of first appearance); samples of other problems are left out.
    """
    keys = list(dict.fromkeys(map(problem_key, rows))) if keys is None else keys
    position = {key: i for i, key in enumerate(keys)}
    index = np.array([position.get(problem_key(row), -1) for row in rows])
    known = index >= 0
    tokens = np.array([row["thinking_tokens"] + row["answer_tokens"] for row in rows], dtype=float)
    scored = np.array([row["status"] != "verifier_error" for row in rows])
    correct = np.array([row["status"] == "correct" for row in rows])

    def total(values):
        return np.bincount(index[known], weights=values[known], minlength=len(keys))

    num_samples, num_scored, num_correct = (total(v).astype(int) for v in (np.ones(len(rows)), scored, correct))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "num_samples": num_samples,
            "num_scored": num_scored,
            "num_correct": num_correct,
            "tokens_mean": total(tokens) / num_samples,
            "cost_mean": total((tokens + PROMPT_COST) * scored) / num_scored,
        }


def compare(rows: list[dict], reference: list[dict] | None) -> dict:
    """Measures of a model against a reference on the problems that both have; all None without a reference.

    Raises UserError when they share no problem.
    """
    names = ("speedup_bits", "speedup_bits_pooled", "accuracy_difference", "tokens_ratio", "allocation_slope")
    if reference is None:
        unknown = {key: None for name in names for key in (name, f"{name}_low", f"{name}_high")}
        return {"reference": None, "num_problems_compared": None, "savant": None, **unknown}
    theirs = {problem_key(row) for row in reference}
    difficulty = {problem_key(row): row["difficulty"] for row in rows if problem_key(row) in theirs}
    keys = list(difficulty)
    if not keys:
        raise UserError(f"the reference has no problem of {rows[0]['task']} in common: same --split, --num_problems?")
    mine, other = problem_table(rows, keys), problem_table(reference, keys)
    with np.errstate(divide="ignore", invalid="ignore"):
        accuracies = [table["num_correct"] / table["num_scored"] for table in (mine, other)]
    slope = metrics.Estimate(*[float("nan")] * 3)
    if None not in difficulty.values():
        slope = metrics.allocation_slope(np.array(list(difficulty.values())), mine["tokens_mean"], other["tokens_mean"])
    difference = metrics.accuracy_difference(*accuracies)
    speedup = metrics.speedup_bits(mine, other)
    return {
        "reference": reference[0]["model"],
        "num_problems_compared": len(keys),
        **speedup,
        **named("accuracy_difference", difference),
        "savant": difference.low > 0 and not speedup["speedup_bits_low"] > 0,  # more accurate and not faster
        **named("tokens_ratio", metrics.token_ratio(mine["tokens_mean"], other["tokens_mean"])),
        **named("allocation_slope", slope),
    }


def compare_all(folder: str | Path, reference_model: str) -> list[dict]:
    """Measure every record of a folder against one of its models, write them back and return them."""
    results, samples = read_results(folder), read_samples(folder)
    records = []
    for record in results["records"]:
        rows = [row for row in samples if key_of(row) == key_of(record)]
        reference = pick_reference(samples, record["task"], reference_model)
        records.append(finite({**record, **compare(rows, reference)}))
    write_json(
        Path(folder) / RESULTS,
        {"records": records, "provenance": {**results["provenance"], "command": command_line()}},
    )
    return records


def pick_reference(samples: list[dict], task: str, model: str | None = None) -> list[dict]:
    """The samples of one model on a task. UserError when there is none, or several and `model` does not say which."""
    models = list(dict.fromkeys(row["model"] for row in samples if row["task"] == task))
    if not models:
        raise UserError(f"the reference holds no samples of task {task}: evaluate the reference model on it first")
    if model is None and len(models) > 1:
        raise UserError(f"the reference holds {len(models)} models, say which: --reference_model {'|'.join(models)}")
    model = model or models[0]
    if model not in models:
        raise UserError(f"the reference holds no model '{model}'{nearest(model, models)} (only {', '.join(models)})")
    return [row for row in samples if row["task"] == task and row["model"] == model]


def share(flags) -> float:
    return float(np.mean(list(flags)))


def tokens_interval(table: dict[str, np.ndarray]) -> dict[str, float]:
    """The interval of the mean tokens per completion."""
    estimate = metrics.mean(table["tokens_mean"])
    return {"tokens_mean_low": estimate.low, "tokens_mean_high": estimate.high}


def style_shares(rows: list[dict]) -> dict[str, float]:
    """Share of each style of thinking, the most frequent first; empty for a task without styles."""
    styles, counts = np.unique([row["style"] for row in rows if "style" in row], return_counts=True)
    return {str(styles[i]): float(counts[i] / counts.sum()) for i in np.argsort(-counts, kind="stable")}


def by_difficulty(rows: list[dict]) -> dict[int, dict]:
    """Accuracy, tokens and styles at each difficulty; empty for a task without difficulties."""
    out = {}
    for difficulty in sorted({row["difficulty"] for row in rows} - {None}):
        here = [row for row in rows if row["difficulty"] == difficulty]
        table = problem_table(here)
        out[difficulty] = {
            "num_problems": len(table["num_scored"]),
            **named("accuracy", metrics.accuracy(table["num_scored"], table["num_correct"])),
            "tokens_mean": float(np.mean([row["thinking_tokens"] + row["answer_tokens"] for row in here])),
            **tokens_interval(table),
            "styles": style_shares(here),
        }
    return out


def by_style(rows: list[dict]) -> dict[str, dict]:
    """What each style costs and how often it is right, at each difficulty: style -> difficulty -> measures.

    The samples that happen to be of a style stand for the model that is made to use it. `usual` measures those of them
    that think for the style's most frequent number of tokens (the larger of two), so that a trace closed early, which
    training can do away with, does not count against its style.
    """
    cells: dict[tuple, list[dict]] = {}
    for row in rows:
        if "style" in row and row["difficulty"] is not None and row["status"] != "verifier_error":
            cells.setdefault((row["style"], row["difficulty"]), []).append(row)
    out: dict[str, dict] = {}
    for (style, difficulty), here in sorted(cells.items()):
        lengths, counts = np.unique([row["thinking_tokens"] for row in here], return_counts=True)
        usual = lengths[counts == counts.max()].max()
        out.setdefault(style, {})[difficulty] = {
            **style_cell(here),
            "usual": style_cell([row for row in here if row["thinking_tokens"] == usual]),
        }
    return out


def style_cell(rows: list[dict]) -> dict[str, float]:
    return {
        "num_samples": len(rows),
        "accuracy": share(row["status"] == "correct" for row in rows),
        "tokens_mean": float(np.mean([row["thinking_tokens"] + row["answer_tokens"] for row in rows])),
    }


# Command line ---------------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are UserErrors."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message):
        unknown = message.partition("unrecognized arguments: ")[2].split(" ")[0]
        known = [option for action in self._actions for option in action.option_strings]
        hint = nearest(unknown, known) if unknown else ""
        raise UserError(f"{message}{hint} (`{self.prog} --help` lists the options)")


def build_parser() -> Parser:
    parser = Parser("timecost evaluate", description="Measure accuracy, tokens and speed-up of a model on tasks.")
    add = parser.add_argument
    add("--model_name_or_path", required=True, help="folder of a model, or its name (arithmetic_base is built in)")
    add("--tasks", required=True, help="names of tasks, separated by commas, such as arithmetic,gsm8k")
    add("--output_path", required=True, help="folder to which results.json and samples.jsonl are written or added")
    add("--budgets", default="inf", help="bounds on thinking; only inf in this version")
    add("--split", default="test", help="split of the task (default: test)")
    add("--num_problems", type=int, help="number of problems (default: the whole split)")
    add("--num_samples", type=int, default=8, help="samples per problem (default: 8)")
    add("--temperature", type=float, default=1.0, help="sampling temperature, 0 for the likeliest token (default: 1.0)")
    add("--seed", type=int, default=0, help="seed of the sampling (default: 0)")
    add("--batch_size", type=int, default=256, help="completions sampled together (default: 256)")
    add("--max_completion_length", type=int, help="bound of a completion in tokens (default: the task's)")
    add("--label", help="name of the model in tables and figures (default: --model_name_or_path)")
    add("--reference", help="results folder or samples.jsonl of the model that the speed-up is measured against")
    add("--reference_model", help="label of the reference model, where --reference holds several")
    return parser


def run(argv: list[str]) -> None:
    """The command `timecost evaluate`."""
    args = build_parser().parse_args(argv)
    tasks, budgets = ([item.strip() for item in text.split(",") if item.strip()] for text in (args.tasks, args.budgets))
    if not tasks or not budgets:
        raise UserError("--tasks and --budgets need at least one name each, such as --tasks arithmetic --budgets inf")
    samples = None if args.reference is None else read_samples(args.reference)
    if args.reference is None and args.reference_model is not None:
        raise UserError("--reference_model names a model in --reference, which is missing")
    from timecost.tasks import get_task

    # A misspelt last task must not cost the time of the first.
    names = {task: get_task(task).name for task in tasks}
    for budget in budgets:
        check_settings(
            budget, args.num_problems, args.num_samples, args.temperature, args.batch_size, args.max_completion_length
        )
    references = dict.fromkeys(tasks)
    if samples is not None:
        references = {task: pick_reference(samples, names[task], args.reference_model) for task in tasks}
    for task in tasks:
        for budget in budgets:
            record = evaluate(
                args.model_name_or_path, task, budget=budget, split=args.split, num_problems=args.num_problems,
                num_samples=args.num_samples, temperature=args.temperature, seed=args.seed, batch_size=args.batch_size,
                max_completion_length=args.max_completion_length, label=args.label, output_path=args.output_path,
                reference=references[task],
            )  # fmt: skip
            print(one_line(record))


def one_line(record: dict) -> str:
    """A record in one line of text."""
    text = (
        f"{record['model']} on {record['task']}: accuracy {with_ends(record, 'accuracy', '.3f')}, "
        f"{record['tokens_mean']:.1f} tokens"
    )
    if record["reference"] is not None:
        text += f", speed-up {with_ends(record, 'speedup_bits', '+.2f')} bits over {record['reference']}"
    return text


def with_ends(record: dict, name: str, spec: str) -> str:
    """A measure and its interval as text, such as `0.912 [0.895, 0.928]`; `unknown` when it is None."""
    value, low, high = (record[key] for key in (name, f"{name}_low", f"{name}_high"))
    return "unknown" if value is None else f"{value:{spec}} [{low:{spec}}, {high:{spec}}]"
