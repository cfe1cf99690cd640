"""`timecost evaluate`: sample a model on tasks and budgets, verify, measure, and add records to a folder of results.

    timecost evaluate --model_name_or_path DIR --tasks gsm8k,math500 --budgets 64,256,inf --output_path results/

`timecost.evaluation.runner` goes from a model to its samples; `timecost.evaluation.records` from samples to measures.
docs/evaluation.md defines every measure.
"""

import contextlib
import hashlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from timecost.budget import parse_budget
from timecost.cost import in_unit, load_cost_model, singular, unit_of
from timecost.errors import UserError, nearest
from timecost.evaluation.jobs import BASELINES, Job, Settings, make_jobs
from timecost.evaluation.records import pick_reference
from timecost.evaluation.results import key_of, read_samples
from timecost.evaluation.runner import processes, run_jobs
from timecost.loading import device, find_model, load_model_to_use, load_tokenizer_to_use
from timecost.options import Parser


def evaluate(
    model_name_or_path: str,
    task: str,
    *,
    budget: str | int = "inf",
    price: str | float | None = None,
    label: str | None = None,
    reference: list[dict] | None = None,
    output_path: str | Path | None = None,
    overwrite: bool = False,
    **settings,
) -> dict | None:
    """Evaluate one model on one task at one budget; returns its record.

    The record and its samples are written when `output_path` is given; what is there already is not sampled again, and
    what was interrupted goes on. `label` names the model in tables and figures (default: `model_name_or_path`).
    A `price`, in words as for `timecost generate`, goes with budget auto.
    `reference` is another model's samples on the same problems (`read_samples`), to measure the speed-up against.
    Further arguments are the fields of `timecost.evaluation.jobs.Settings`: `num_problems` None takes the whole
    split; the problems do not depend on `seed`, the samples do. None is returned when other processes still hold
    a share of the samples. Raises UserError for what cannot be loaded, and for results made in another way.
    """
    settings = Settings(**settings)
    check_settings(settings)
    budgets, prices = check_budgets([budget], settings, [] if price is None else [price])
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory()) if output_path is None else output_path
        return run_all(
            model_name_or_path, [task], budgets, settings, folder, label=label, overwrite=overwrite, prices=prices,
            references=None if reference is None else {task: reference},
        )[0]  # fmt: skip


def run_all(
    model_name_or_path: str, tasks: list[str], budgets: list[int | None], settings: Settings, output_path, *,
    label: str | None = None, references: dict | None = None, overwrite: bool = False, report=lambda record, job: None,
    prices: Sequence[str] = (),
) -> list[dict | None]:  # fmt: skip
    """The records of a model on tasks, at budgets and prices; `references` are samples by the task's name as given."""
    from timecost.tasks import check_split, get_task

    # A misspelt last task must not cost the time of the first.
    found = {name: get_task(name) for name in tasks}
    for task in found.values():
        check_split(task.name, settings.split, task.splits)
    name = str(model_name_or_path)
    tokenizer = load_tokenizer_to_use(name)
    label = (label or name.rstrip("/")) + (f" ({settings.baseline})" if settings.baseline else "")
    model = {"model_name_or_path": name, "model_fingerprint": model_fingerprint(name), "device": device().split(":")[0]}
    head = value_settings(name, settings) if prices else None
    jobs: list[Job] = []
    for task in found.values():
        conversational = tokenizer.chat_template is not None
        jobs += make_jobs(
            label, task, budgets, settings, conversational=conversational, model=model, prices=prices, head=head
        )
    return run_jobs(
        output_path, jobs, lambda: load_model_to_use(name), overwrite=overwrite, report=report,
        references={found[task].name: rows for task, rows in (references or {}).items() if rows is not None},
    )  # fmt: skip


def check_settings(settings: Settings) -> None:
    """Raises UserError for a setting that cannot be evaluated."""
    from timecost.generation import ENFORCE

    names = ("num_problems", "max_completion_length", "max_answer_tokens", "num_samples", "batch_size")
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}: it must be at least 1")
    if settings.num_fewshot < 0:
        raise UserError(f"num_fewshot is {settings.num_fewshot}: it must be at least 0")
    for name in ("least_value", "decline_novel"):
        if (value := getattr(settings, name)) is not None and not 0 <= value <= 1:
            raise UserError(f"{name} is {value}: it must lie in [0, 1]")
    if not 0 <= settings.temperature < float("inf"):
        raise UserError(
            f"temperature is {settings.temperature}: it must be 0 (the likeliest token) or a positive number"
        )
    for name, value, known in (
        ("enforce", settings.enforce, ENFORCE), ("baseline", settings.baseline, (None, *BASELINES))
    ):  # fmt: skip
        if value not in known:
            known = [one for one in known if one is not None]
            raise UserError(f"{name} is one of {', '.join(known)}, not '{value}'{nearest(str(value), known)}")


def check_budgets(
    texts: list[str | int], settings: Settings, prices: Sequence[str | float] = ()
) -> tuple[list[int | None], list[str]]:
    """The budgets, and the prices of budget auto, that are asked for, each once and the prices in one spelling.

    Raises UserError for one that is none, or that the baseline lacks.
    """
    budgets = list(dict.fromkeys(parse_budget(text) for text in texts if text != "auto"))
    if ("auto" in texts) != bool(prices):
        raise UserError("budget auto and its prices go together: --budgets auto --prices 0.001,0.01")
    if prices and settings.baseline is not None:
        raise UserError(f"--baseline {settings.baseline} has no value head: leave --prices out")
    unit = unit_of(settings.cost_model)
    numbers = dict.fromkeys(in_unit(text, unit, "price", per=True) for text in prices)
    if any(not 0 <= number < float("inf") for number in numbers):
        raise UserError("a price is a number from 0 on: right answers that one unit of time is worth")
    prices = [f"{number:g}/{singular(unit)}" for number in numbers]
    if settings.baseline == "no_thinking":
        if budgets not in ([None], [0]):
            raise UserError("--baseline no_thinking has no other budget than 0: leave --budgets out")
        return [0], prices
    if settings.baseline == "truncation" and settings.enforce not in ("none", "hard"):
        raise UserError("--baseline truncation holds the bound: leave --enforce out")
    return budgets, prices


def value_settings(name: str, settings: Settings) -> dict:
    """What records at a price hold of the value head and the cost model. Raises UserError where there is no head."""
    import dataclasses

    from transformers import AutoConfig

    from timecost.value.head import CONFIG, WEIGHTS, has_value_head

    folder = Path(settings.value_head or find_model(name))
    if not has_value_head(folder):
        raise UserError(f"'{folder}' holds no value head: fit one with `timecost fit-value --model_name_or_path DIR`")
    digest = hashlib.sha256((folder / CONFIG).read_bytes() + (folder / WEIGHTS).read_bytes())
    config = AutoConfig.from_pretrained(find_model(name)) if settings.cost_model == "flops" else None
    return {
        "cost_model": settings.cost_model, "value_head": settings.value_head, "least_value": settings.least_value,
        "decline_novel": settings.decline_novel,
        "cost_coefficients": dataclasses.asdict(load_cost_model(settings.cost_model, config)), "clip": settings.clip,
        "value_head_fingerprint": digest.hexdigest()[:16],
    }  # fmt: skip


def model_fingerprint(model_name_or_path: str) -> str:
    """What tells a model from another under the same path: a hash of its configuration and of parts of its weights.

    Of a large file 64 pieces are read: a model that was trained further differs in all of them. A name on the hub
    stands for itself.
    """
    folder = Path(find_model(model_name_or_path))
    digest = hashlib.sha256(b"" if folder.is_dir() else model_name_or_path.encode())
    names = ("config.json", "generation_config.json", "adapter_config.json", "tokenizer*", "chat_template*", "vocab*",
             "merges*", "*.model", "model*.safetensors", "pytorch_model*.bin", "adapter_model*")  # fmt: skip
    for path in sorted({path for name in names for path in folder.glob(name) if path.is_file()}):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with open(path, "rb") as file:
            if size < 2**22:
                digest.update(file.read())
                continue
            for i in range(64):
                file.seek(i * (size - 2**14) // 63)
                digest.update(file.read(2**14))
    return digest.hexdigest()[:16]


# Command line ---------------------------------------------------------------------------------------------------------


def build_parser() -> Parser:
    parser = Parser("timecost evaluate", description="Measure accuracy, tokens and speed-up of a model on tasks.")
    add = parser.add_argument
    add("--model_name_or_path", required=True, help="folder of a model, or its name (arithmetic_base is built in)")
    add("--tasks", required=True, help="names of tasks, separated by commas, such as arithmetic,gsm8k")
    add("--output_path", required=True, help="folder to which results.json and samples.jsonl are written or added")
    add(
        "--budgets",
        default="inf",
        help="bounds on thinking, such as 64,256,inf; 0 for no thinking; auto (default: inf)",
    )
    add("--prices", help="with --budgets auto, where a value head decides: prices of time, such as 0.001,0.01")
    add("--cost_model", default="tokens", help="what the prices count: tokens, flops, or a file of fit-cost")
    add("--least_value", type=float, help="with --budgets auto: decline what is worth less than this, from 0 to 1")
    add("--decline_novel", type=float, help="with --budgets auto: decline questions stranger than all but this share")
    add("--value_head", help="with --budgets auto: folder of the value head (default: the model's own)")
    add("--no_clip", action="store_true", help="with --budgets auto: let prices exceed the calibrated one")
    add("--enforce", default="none", help="none: the prompt asks (default); soft: with a grace; hard: never beyond it")
    add("--baseline", help="instead of budget tokens: truncation (cut any model), prompt (ask in words), no_thinking")
    add("--split", default="test", help="split of the task (default: test)")
    add("--num_problems", type=int, help="number of problems (default: the whole split)")
    add("--num_fewshot", type=int, default=0, help="solved examples of the train split in the prompt (default: 0)")
    add("--num_samples", type=int, default=8, help="samples per problem (default: 8)")
    add("--temperature", type=float, default=1.0, help="sampling temperature, 0 for the likeliest token (default: 1.0)")
    add("--seed", type=int, default=0, help="seed of the sampling (default: 0)")
    add("--batch_size", type=int, default=256, help="completions sampled together (default: 256)")
    add("--max_completion_length", type=int, help="bound of a completion in tokens (default: the task's)")
    add("--max_answer_tokens", type=int, help="reserve of the answer under --enforce (default: a quarter of the bound)")
    add("--label", help="name of the model in tables and figures (default: --model_name_or_path)")
    add("--reference", help="results folder or samples.jsonl of the model that the speed-up is measured against")
    add("--reference_model", help="label of the reference model, where --reference holds several")
    add("--overwrite", action="store_true", help="sample again what is finished or begun in --output_path")
    return parser


def run(argv: list[str]) -> None:
    """The command `timecost evaluate`."""
    args = build_parser().parse_args(argv)
    tasks, budgets, prices = (
        [item.strip() for item in text.split(",") if item.strip()]
        for text in (args.tasks, args.budgets, args.prices or "")
    )
    if not tasks or not budgets:
        raise UserError("--tasks and --budgets need at least one name each, such as --tasks arithmetic --budgets inf")
    if args.reference is None and args.reference_model is not None:
        raise UserError("--reference_model names a model in --reference, which is missing")
    args.clip = not args.no_clip
    settings = Settings(**{name: getattr(args, name) for name in Settings.__dataclass_fields__})
    check_settings(settings)
    budgets, prices = check_budgets(budgets, settings, prices)
    processes()
    from timecost.tasks import get_task

    names = {task: get_task(task).name for task in tasks}
    references = None
    if args.reference is not None:
        samples = read_samples(args.reference)
        references = {task: pick_reference(samples, names[task], args.reference_model) for task in tasks}
    run_all(
        args.model_name_or_path, tasks, budgets, settings, args.output_path, label=args.label, references=references,
        overwrite=args.overwrite, report=tell, prices=prices,
    )  # fmt: skip


def tell(record: dict | None, job: Job) -> None:
    if record is not None:
        print(one_line(record), flush=True)
    else:
        rank, world_size = processes()
        print(f"{job.name}: process {rank} of {world_size} has done its share", file=sys.stderr, flush=True)


def one_line(record: dict) -> str:
    """A record in one line of text."""
    enforced = "" if record["enforce"] in ("none", "value") else f", {record['enforce']}"
    budget = "" if record["budget"] == "inf" else f" at budget {key_of(record)[2]}{enforced}"
    text = (
        f"{record['model']} on {record['task']}{budget}: accuracy {with_ends(record, 'accuracy', '.3f')}, "
        f"{record['tokens_mean']:.1f} tokens"
    )
    if record["truncation_rate"] > 0.01:
        text += f" ({100 * record['truncation_rate']:.0f} % cut off at the limit: raise --max_completion_length)"
    if record["reference"] is not None:
        text += f", speed-up {with_ends(record, 'speedup_bits', '+.2f')} bits over {record['reference']}"
    return text


def with_ends(record: dict, name: str, spec: str) -> str:
    """A measure and its interval as text, such as `0.912 [0.895, 0.928]`; `unknown` when it is None."""
    value, low, high = (record[key] for key in (name, f"{name}_low", f"{name}_high"))
    return "unknown" if value is None else f"{value:{spec}} [{low:{spec}}, {high:{spec}}]"
