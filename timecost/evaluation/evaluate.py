"""`timecost evaluate`: sample a model on tasks, verify, measure, and add the records to a folder of results.

    timecost evaluate --model_name_or_path DIR --tasks arithmetic --num_problems 2000 --output_path results/

`sample_task` goes from a model to its samples; `timecost.evaluation.records` from samples to measures.
docs/evaluation.md defines every measure.
"""

from pathlib import Path

from timecost.errors import UserError
from timecost.evaluation.records import make_record, pick_reference
from timecost.evaluation.results import make_folder, read_samples, write_results
from timecost.options import Parser


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
    from timecost.loading import check_model_path
    from timecost.tasks import resolve_model

    path = check_model_path(resolve_model(str(model_name_or_path)))
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    import timecost.models.bmojo  # noqa: F401  registers the class

    device = "cuda" if torch.cuda.is_available() else "cpu"
    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
        # half precision is slower than float32 on most processors
        dtype = "auto" if device == "cuda" else torch.float32
        if (Path(path) / "adapter_config.json").is_file():
            model = load_adapter(path, tokenizer, dtype)
        else:
            model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"cannot load model '{model_name_or_path}': {line[:300]}") from error
    finally:
        if bar:
            logging.enable_progress_bar()
    return model.to(device).eval(), tokenizer


def load_adapter(path: str, tokenizer, dtype):
    """An adapter on its base, with the rows of tokens that training added and what they stand for."""
    from peft import AutoPeftModelForCausalLM

    from timecost.budget import rungs_in
    from timecost.effort import efforts_in

    model = AutoPeftModelForCausalLM.from_pretrained(path, dtype=dtype)
    model.config.budgets, model.config.efforts = rungs_in(tokenizer), efforts_in(tokenizer)
    return model


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


# Command line ---------------------------------------------------------------------------------------------------------


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
