"""What training and evaluation start from, checked: the task's problems, the model and its tokenizer."""

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


def load_tokenizer(model_args, trust_remote_code: bool = False):
    """The tokenizer of `model_args.model_name_or_path`, padding on the left. Raises UserError if unreadable."""
    from transformers import AutoTokenizer

    return _load(
        AutoTokenizer.from_pretrained,
        model_args,
        trust_remote_code=trust_remote_code,
        padding_side="left",
        truncation_side="left",
    )


def load_model(model_args, trust_remote_code: bool = False, init_kwargs: dict | None = None):
    """The causal language model of `model_args` (TRL's ModelConfig) in its dtype; `init_kwargs` go to transformers.

    Raises UserError for a folder without weights, for an adapter, and for whatever transformers cannot load.
    """
    from transformers import AutoModelForCausalLM

    if model_args.load_in_4bit or model_args.load_in_8bit:
        raise UserError("quantized training is not supported: remove load_in_4bit and load_in_8bit")
    kwargs = {"dtype": model_args.dtype, "attn_implementation": model_args.attn_implementation, **(init_kwargs or {})}
    model = _load(AutoModelForCausalLM.from_pretrained, model_args, trust_remote_code=trust_remote_code, **kwargs)
    if getattr(model, "_hf_peft_config_loaded", False):
        raise UserError(
            f"'{model_args.model_name_or_path}' is an adapter, which training would replace: merge it into its model "
            "first (PEFT's merge_and_unload), or continue its own run with --resume"
        )
    return model


def _load(from_pretrained, model_args, **kwargs):
    import safetensors

    import timecost.models.bmojo  # noqa: F401  registers the class

    name = model_args.model_name_or_path
    if not name:
        raise UserError("no model: set model_name_or_path to a folder, a model of the hub, or arithmetic_base")
    path = check_model_path(resolve_model(name))
    try:
        return from_pretrained(path, **{"revision": model_args.model_revision, **kwargs})
    except (OSError, ValueError, ImportError, RuntimeError, safetensors.SafetensorError) as error:
        if is_disk_full(error):
            raise
        reason = " ".join(str(error).split())
        raise UserError(
            f"the model '{name}' cannot be loaded: give a folder with a model, or the name of one on the hub that can "
            f"be reached from here ({reason[:300]})"
        ) from error


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
