"""The model card: README.md beside a trained model, with metadata that the Hugging Face Hub reads.

`TimeCostTrainer` writes it where TRL would write its own. Its part on evaluation stands between two marks, so that
`timecost report RESULTS --model_card MODEL` can put measured results there later; the rest stays as its owner wrote it.
"""

import json
import os
from pathlib import Path

from timecost.errors import UserError
from timecost.provenance import versions

CARD = "README.md"
BEGIN, END = "<!-- timecost: evaluation -->", "<!-- timecost: end of evaluation -->"
TAGS = ["timecost", "trl", "grpo", "reasoning", "test-time-compute"]


def training_facts(trainer, task: str | None = None) -> dict:
    """What a card says of a run, read from a `TimeCostTrainer`: plain values, None where unknown."""
    args, config = trainer.args, trainer.model.config
    base = getattr(config, "_name_or_path", None) or None
    log: dict[str, float] = {}
    for entry in trainer.state.log_history:
        log |= {name: value for name, value in entry.items() if isinstance(value, int | float)}
    return {
        "name": (args.hub_model_id or Path(args.output_dir).resolve().name).split("/")[-1],
        "path": args.hub_model_id or str(args.output_dir),
        "base_model": Path(base).name if base and os.path.isdir(base) else base,
        "task": task,
        "objective": args.objective,
        "time_elasticity": args.time_elasticity if args.objective == "levin" else None,
        "objective_kwargs": dict(args.objective_kwargs),
        "cost_model": args.cost_model,
        "price_schedule": args.price_schedule,
        "price_target": {n: v for n in ("max_accuracy_loss", "max_mean_cost") if (v := getattr(args, n)) is not None},
        "budgets": list(args.budgets or []),
        "bounded_time_elasticity": args.bounded_time_elasticity,
        "efforts": dict(args.efforts or {}),
        "adapter": hasattr(trainer.accelerator.unwrap_model(trainer.model), "peft_config"),
        "model_type": config.model_type,
        "chat": getattr(trainer.processing_class, "chat_template", None) is not None,
        "think_end": args.think_end,
        "steps": trainer.state.global_step,
        "num_generations": args.num_generations,
        "max_completion_length": args.max_completion_length,
        "learning_rate": args.learning_rate,
        "beta": args.beta,
        "seed": args.seed,
        "log": log,
        "versions": versions(),
    }  # fmt: skip


def card_text(facts: dict) -> str:
    """The whole card, metadata and text."""
    from huggingface_hub import ModelCardData

    results = logged_results(facts)
    data = ModelCardData(
        base_model=facts["base_model"] if is_hub_name(facts["base_model"]) else None,
        library_name="peft" if facts["adapter"] else "transformers",
        pipeline_tag="text-generation",
        tags=TAGS,
        model_name=facts["name"],
        eval_results=results or None,
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {facts['name']}",
        purpose(facts),
        "## How to use",
        usage(facts),
        "## How it was trained",
        markdown_table(("setting", "value"), training_rows(facts)),
        "## What was measured",
        f"{BEGIN}\n{logged_text(facts)}\n{END}",
        "## Limits",
        limits(facts),
        "## Versions",
        ", ".join(f"{name} {version}" for name, version in facts["versions"].items()) + ".",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def is_hub_name(name: str | None) -> bool:
    """Whether a model's name is that of a repository, `owner/name`, and not a folder."""
    return bool(name) and name.count("/") == 1 and not name.startswith((".", "/", "~")) and not os.path.exists(name)


def purpose(facts: dict) -> str:
    text = "A language model trained with timecost to reach a verified answer in little time."
    if facts["objective"] == "accuracy":
        text = "A language model trained with timecost for right answers alone: time had no price."
    if facts["base_model"]:
        text += f" It started from `{facts['base_model']}`."
    elasticity = facts["time_elasticity"]
    if facts["price_schedule"] != "constant":
        text += f" Its objective was `{facts['objective']}`, whose price of time moved during training (see below)."
    elif elasticity is not None:
        worth = 100 * (1 - 0.7**elasticity)
        text += (
            f" Its time elasticity was {elasticity:g}: in training, a saving of 30 % of the tokens paid for itself "
            f"while it cost less than {worth:.2g} % of the accuracy."
        )
    elif facts["objective"] != "accuracy":
        text += f" Its objective was `{facts['objective']}`."
    if facts["budgets"]:
        rungs = ", ".join(map(str, facts["budgets"]))
        text += f" It takes a budget of thinking tokens in the prompt: {rungs}, or none."
    if facts["efforts"]:
        text += f" It takes an effort in the prompt: {', '.join(facts['efforts'])}."
    return text


def purpose_in(folder: str | Path) -> str | None:
    """What a card of timecost in this folder says the model is for; None without one."""
    try:
        text = (Path(folder) / CARD).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    _, title, rest = text.partition("\n# ")
    return " ".join(rest.partition("\n## ")[0].splitlines()[1:]).strip() or None if title and BEGIN in text else None


def usage(facts: dict) -> str:
    """Five lines of Python that answer a question."""
    question = '[{"role": "user", "content": "..."}]' if facts["chat"] else '"..."'
    budget = facts["budgets"][len(facts["budgets"]) // 2] if facts["budgets"] else None
    more = "" if facts["think_end"] == "</think>" else f", think_end={facts['think_end']!r}"
    if facts["efforts"]:
        more += f", effort={next(iter(facts['efforts']))!r}"
    lines = [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "from timecost.generation import generate",
        f"model = AutoModelForCausalLM.from_pretrained({facts['path']!r})",
        f"tokenizer = AutoTokenizer.from_pretrained({facts['path']!r}, padding_side='left')",
        f"print(generate(model, tokenizer, [{question}], [{budget}]{more})[0].answer)",
    ]
    if facts["model_type"] == "bmojo":
        lines.insert(2, "import timecost.models.bmojo")
    after = "\n\nThe last list holds a budget of thinking tokens for each prompt; `None` is no bound." if budget else ""
    return "```python\n" + "\n".join(lines) + "\n```" + after


def training_rows(facts: dict) -> list[tuple[str, str]]:
    longest, rate = facts["max_completion_length"], f"{facts['learning_rate']:g}"
    rows = [
        ("task", facts["task"]), ("base model", facts["base_model"]), ("objective", facts["objective"]),
        ("time elasticity", facts["time_elasticity"]), ("arguments of the objective", facts["objective_kwargs"]),
        ("time is counted in", Path(facts["cost_model"]).name),
        ("price of time", facts["price_schedule"]), ("target of the price", facts["price_target"]),
        ("budgets", ", ".join(map(str, facts["budgets"]))),
        ("time elasticity under a budget", facts["bounded_time_elasticity"]),
        ("efforts and their elasticities", ", ".join(f"{k} {v:g}" for k, v in facts["efforts"].items())),
        ("trained weights", "an adapter (PEFT)" if facts["adapter"] else "all"), ("steps", facts["steps"]),
        ("completions in a group", facts["num_generations"]),
        ("longest completion, tokens", longest), ("learning rate", rate),
        ("KL coefficient", f"{facts['beta']:g}"), ("seed", facts["seed"]),
    ]  # fmt: skip
    return [(name, str(value)) for name, value in rows if value not in (None, "", {})]


def logged_results(facts: dict) -> list:
    """Results on validation problems during training, as the Hub lists them."""
    measured = {"accuracy": "eval_timecost/accuracy", "tokens": "eval_timecost/tokens"}
    names = {"accuracy": "accuracy (pass@1)", "tokens": "mean tokens per completion"}
    task = facts["task"] or "the task"
    return [
        eval_result(task, "validation", kind, names[kind], round(facts["log"][key], 4))
        for kind, key in measured.items()
        if key in facts["log"]
    ]


def eval_result(task: str, split: str, kind: str, name: str, value, args: dict | None = None):
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type="text-generation", dataset_type=task, dataset_name=task, dataset_split=split, metric_type=kind,
        metric_name=name, metric_value=value, dataset_args=args,
    )  # fmt: skip


def logged_text(facts: dict) -> str:
    """What training itself logged last; evaluation replaces it."""
    log, parts = facts["log"], []
    if "eval_timecost/accuracy" in log:
        parts.append(
            f"On validation problems at the end of training: {100 * log['eval_timecost/accuracy']:.1f} % right with "
            f"{log.get('eval_timecost/tokens', float('nan')):.1f} tokens per completion."
        )
    rows = [
        (rung, f"{100 * log[at + 'accuracy']:.1f}", f"{log[at + 'thinking_tokens']:.1f}")
        for rung in facts["budgets"]
        if (at := f"timecost/budget_{rung}/") + "accuracy" in log
    ]  # fmt: skip
    if rows:
        parts.append("By budget, on the training problems of the last steps that were logged:")
        parts.append(markdown_table(("budget, thinking tokens", "right, %", "thinking tokens used"), rows))
    parts.append(
        "Not evaluated on test problems: `timecost evaluate` and `timecost report --model_card` add that here."
    )
    return "\n\n".join(parts)


def limits(facts: dict) -> str:
    lines = [
        f"- It was trained on {facts['task'] or 'one task'}; nothing is known of its accuracy or its saving elsewhere.",
        "- It gives up accuracy for time where its elasticity says that this pays. Where every answer must be right, "
        "use a model trained for accuracy alone.",
        f"- Time was counted in {Path(facts['cost_model']).name}; other measures of time were not looked at.",
        f"- One run with one seed ({facts['seed']}).",
    ]
    if facts["budgets"]:
        lines.insert(2, "- A budget in the prompt is asked for, not held: `enforce='hard'` in `generate` holds it.")
    return "\n".join(lines)


def markdown_table(head: tuple, rows: list[tuple]) -> str:
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * len(head), *lines[1:]])


def write_card(folder: str | Path, facts: dict) -> Path:
    path = Path(folder) / CARD
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(card_text(facts), encoding="utf-8")
    return path


def update_card(folder: str | Path, records: list[dict]) -> Path:
    """Put the records of a model into its card: as a table, and as metadata. Returns the card's path.

    `records` are those of a results.json; a value head's calibration is read from the folder. Raises UserError when
    the folder holds no card of timecost, or there is no record.
    """
    from huggingface_hub import ModelCard

    path = Path(folder) / CARD
    if not path.is_file():
        raise UserError(f"'{folder}' holds no {CARD}: name the folder of a model that timecost trained")
    if not records:
        raise UserError(f"the results hold no record of the model in '{folder}': evaluate it first")
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"'{path}' has no marks {BEGIN} and {END}: put them where the results shall stand")
    card = ModelCard(f"{before}{BEGIN}\n{measured_text(records, calibration(folder))}\n{END}{after}")
    card.data.model_name = card.data.model_name or Path(folder).resolve().name
    card.data.eval_results = [
        eval_result(
            record["task"], record["split"], kind, name, round(record[key], 4),
            {"budget": budget_of(record), "enforce": enforced(record), "temperature": record["temperature"]},
        )
        for record in records
        for kind, name, key in (("accuracy", "accuracy (pass@1)", "accuracy"), ("tokens", "mean tokens", "tokens_mean"))
        if record[key] is not None
    ]  # fmt: skip
    card.save(path)
    return path


def calibration(folder: str | Path) -> dict | None:
    """What `timecost calibrate-value` stored beside the model, None without a calibrated head."""
    try:
        return json.loads((Path(folder) / "value_head.json").read_text(encoding="utf-8")).get("calibration")
    except (OSError, ValueError, AttributeError):
        return None


def budget_of(record: dict) -> str:
    """The budget of a record, with the price where a value head decided."""
    return f"auto at {record['price']}" if record.get("price") else record["budget"]


def enforced(record: dict) -> str:
    return record.get("enforce", "none")


def measured_text(records: list[dict], kept: dict | None) -> str:
    """The table of a model's records, and the guarantee of its value head."""

    def bracketed(record, name, scale):
        low, high = record.get(f"{name}_low"), record.get(f"{name}_high")
        value = "unknown" if record[name] is None else f"{scale * record[name]:.1f}"
        return value if low is None or high is None else f"{value} [{scale * low:.1f}, {scale * high:.1f}]"

    rows = [
        (r["task"], budget_of(r), enforced(r), bracketed(r, "accuracy", 100), bracketed(r, "tokens_mean", 1),
         f"{r['tokens_p95']:.0f}", f"{r['num_problems']} x {r['num_samples']}")
        for r in records
    ]  # fmt: skip
    head = ("task", "budget", "enforced", "right, %", "tokens", "95th percentile", "problems x samples")
    text = markdown_table(head, rows) + "\n\nIn brackets 95 % intervals, by resampling problems."
    if kept and kept["price"] is None:
        text += f"\n\nOf its value head no price was found safe on {kept['num_problems']} problems of {kept['task']}."
    elif kept:
        text += (
            f"\n\nIts value head was calibrated on {kept['num_problems']} problems of {kept['task']}: at a price of at "
            f"most {kept['price']:g} per thinking token, stopping early costs at most {100 * kept['loss']:g} points of "
            f"accuracy on such problems, with confidence {100 * (1 - kept['delta']):g} %."
        )
    return text
