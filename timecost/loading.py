"""What commands start from, checked: problems or prompts, a model and its tokenizer, to train or to use as they are."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from timecost.errors import UserError, is_disk_full
from timecost.tasks import Task, resolve_model


def load_problems(
    task: Task, split: str, num_problems: int | None, seed: int, conversational: bool, *, or_all: bool = False
):  # fmt: skip
    """The problems of a split as a dataset with columns `prompt` and `answer`; `or_all`: all where there are fewer.

    Raises UserError when there are none and for the first one without a prompt or an answer.
    """
    try:
        dataset = task.load(split, num_problems=num_problems, seed=seed, conversational=conversational)
    except UserError:
        if not or_all or num_problems is None:
            raise
        dataset = task.load(split, seed=seed, conversational=conversational)
        if len(dataset) >= num_problems:
            raise
    if len(dataset) == 0:
        raise UserError(f"task {task.name}, split {split}: no problems, so there is nothing to train on")
    for column in ("prompt", "answer"):
        if column not in dataset.column_names:
            raise UserError(f"task {task.name}, split {split}: no column '{column}' (columns: {dataset.column_names})")
        for row, value in enumerate(dataset[column]):
            if value is None or not str(value).strip():
                raise UserError(f"task {task.name}, split {split}: row {row} has no {column}: complete or remove it")
    return dataset


def read_prompts(path: str) -> list[dict]:
    """The rows of a JSONL file. Raises UserError for one that is not an object with a prompt."""
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")  # splitlines would cut at U+2028 too
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict) or not row.get("prompt"):
            raise UserError(f'{path}, line {number}: no prompt; a line is {{"prompt": "..."}}')
        rows.append(row)
    if not rows:
        raise UserError(f"{path} holds no prompts")
    return rows


def as_prompt(prompt, tokenizer):
    """A question as a message where the tokenizer has a chat template, as it is elsewhere.

    Raises UserError for messages where it has none.
    """
    if isinstance(prompt, str) and tokenizer.chat_template:
        return [{"role": "user", "content": prompt}]
    if not isinstance(prompt, str) and not tokenizer.chat_template:
        raise UserError("the model has no chat template: give prompts as text, not as messages")
    return prompt


def load_tokenizer_to_train(model_args, trust_remote_code: bool = False):
    """The tokenizer of `model_args.model_name_or_path`, padding on the left. Raises UserError if unreadable."""
    from transformers import AutoTokenizer

    return _load_to_train(
        AutoTokenizer.from_pretrained,
        model_args,
        trust_remote_code=trust_remote_code,
        padding_side="left",
        truncation_side="left",
    )


def load_model_to_train(model_args, trust_remote_code: bool = False, init_kwargs: dict | None = None):
    """The causal language model of `model_args` (TRL's ModelConfig) in its dtype; `init_kwargs` go to transformers.

    Raises UserError for a folder without weights, for an adapter, and for whatever transformers cannot load.
    """
    from transformers import AutoModelForCausalLM

    if model_args.load_in_4bit or model_args.load_in_8bit:
        raise UserError("quantized training is not supported: remove load_in_4bit and load_in_8bit")
    kwargs = {"dtype": model_args.dtype, "attn_implementation": model_args.attn_implementation, **(init_kwargs or {})}
    from_pretrained = AutoModelForCausalLM.from_pretrained
    model = _load_to_train(from_pretrained, model_args, trust_remote_code=trust_remote_code, **kwargs)
    if getattr(model, "_hf_peft_config_loaded", False):
        raise UserError(
            f"'{model_args.model_name_or_path}' is an adapter, which training would replace: merge it into its model "
            "first (PEFT's merge_and_unload), or continue its own run with --resume"
        )
    return model


def _load_to_train(from_pretrained, model_args, **kwargs):
    name = model_args.model_name_or_path
    if not name:
        raise UserError("no model: set model_name_or_path to a folder, a model of the hub, or arithmetic_base")
    with _readable(name, to_train=True) as path:
        return from_pretrained(path, **{"revision": model_args.model_revision, **kwargs})


def load_model_to_use(model_name_or_path: str):
    """Model, on this process's GPU if there is one, and tokenizer, from a folder or a name; an adapter on its base.

    Raises UserError when the folder is missing, holds no weights, or what it holds cannot be loaded.
    """
    tokenizer = load_tokenizer_to_use(model_name_or_path)
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # half precision is slower than float32 on most processors
        dtype = torch.float32 if device() == "cpu" else "auto"
        with _readable(model_name_or_path) as path:
            if (Path(path) / "adapter_config.json").is_file():
                model = _load_adapter(path, tokenizer, dtype)
            else:
                model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    finally:
        if bar:
            logging.enable_progress_bar()
    return model.to(device()).eval(), tokenizer


def load_tokenizer_to_use(model_name_or_path: str):
    """The tokenizer of a model, padding on the left. Raises UserError like `load_model_to_use`."""
    with _readable(model_name_or_path) as path:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(path, padding_side="left")


def _load_adapter(path: str, tokenizer, dtype):
    """An adapter on its base, with the rows of tokens that training added and what they stand for."""
    from peft import AutoPeftModelForCausalLM

    from timecost.budget import rungs_in
    from timecost.effort import efforts_in

    model = AutoPeftModelForCausalLM.from_pretrained(path, dtype=dtype)
    model.config.budgets, model.config.efforts = rungs_in(tokenizer), efforts_in(tokenizer)
    return model


def device() -> str:
    """Where this process computes: its GPU, by the rank that the launcher gives it on this machine, or the CPU."""
    import torch

    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0))}" if torch.cuda.is_available() else "cpu"


@contextmanager
def _readable(name: str, to_train: bool = False) -> Iterator[str]:
    """The path of a model; turns what transformers raises for one that it cannot load into a UserError."""
    path = find_model(name)
    from safetensors import SafetensorError

    import timecost.models.bmojo  # noqa: F401  registers the class

    try:
        yield path
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        if is_disk_full(error):
            raise
        text = str(error).strip() or type(error).__name__
        if to_train:
            raise UserError(
                f"the model '{name}' cannot be loaded: give a folder with a model, or the name of one on the hub that "
                f"can be reached from here ({' '.join(text.split())[:300]})"
            ) from error
        raise UserError(f"cannot load model '{name}': {text.splitlines()[0][:300]}") from error


def find_model(model_name_or_path: str) -> str:
    """The folder of a model, or its name on the hub. Raises UserError like `check_model_path`."""
    return check_model_path(resolve_model(str(model_name_or_path)))


def check_model_path(path: str) -> str:
    """`path`, checked where it is meant as a folder; a name on the hub passes.

    Raises UserError unless the folder holds a model's (or adapter's) configuration, weights and tokenizer.
    """
    folder = Path(path).expanduser()
    if not folder.exists():
        if path.startswith((".", "/", "~")) or path.count("/") != 1:
            raise UserError(f"no model at '{path}': give a folder written by `timecost train`, or a name on the hub")
        return path
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda checkpoint: checkpoint.stat().st_mtime)
        hint = f": did you mean '{checkpoints[-1]}'?" if checkpoints else ""
        raise UserError(f"'{path}' is not the folder of a model, it holds no config.json{hint}")
    if not any(file.stat().st_size for pattern in ("*.safetensors", "*.bin") for file in folder.glob(pattern)):
        raise UserError(f"'{path}' has no weights (model.safetensors): save the model there with save_pretrained")
    if not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab*")):
        raise UserError(f"'{path}' has no tokenizer: save it there with tokenizer.save_pretrained")
    return str(folder)
