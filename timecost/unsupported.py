"""What `TimeCostTrainer` does not do, said before it would go wrong."""

from accelerate.utils import DistributedType
from transformers import ProcessorMixin

from timecost.errors import UserError


def check_arguments(args, model, joint_value, others: dict) -> None:
    """Raises UserError for what the trainer cannot do; `others` are the arguments that go to `GRPOTrainer`."""
    if not callable(others.get("verifier")):
        raise UserError("verifier is one function, (completions, **columns) -> scores; others belong in reward_funcs")
    for name in ("tools", "rollout_func", "environment_factory"):
        if others.get(name):
            raise UserError(f"{name} is not supported: time is counted over one completion without tool calls")
    engines = args.use_vllm or args.use_transformers_continuous_batching
    if engines and getattr(getattr(model, "config", None), "model_type", None) == "bmojo":
        raise UserError("a B'MOJO is known neither to vLLM nor to continuous batching: set both to false")
    if joint_value is not None and args.mask_truncated_completions:
        raise UserError(
            "a value head does not go with mask_truncated_completions, where a thought that was cut looks empty: set "
            "that to false"
        )
    if args.value_head and joint_value is None:
        raise UserError(
            "value_head is what `timecost train` reads: here, pass joint_value, a timecost.value.joint.JointValueHead"
        )


def check_trainer(trainer) -> None:
    """The same for what is known only when the model and the processes are there."""
    if isinstance(trainer.processing_class, ProcessorMixin):
        raise UserError("images are not supported: for text alone, pass the tokenizer of the model as processing_class")
    accelerator = trainer.accelerator
    sharded = accelerator.distributed_type == DistributedType.FSDP or (
        accelerator.distributed_type == DistributedType.DEEPSPEED and accelerator.state.deepspeed_plugin.zero_stage == 3
    )
    if sharded and trainer.joint_value is not None:
        raise UserError(
            "value_head: the main process probes alone, which sharded parameters (FSDP, ZeRO-3) do not allow: train "
            "without it, then run `timecost fit-value`"
        )


def check_prompts(dataset, tokenizer, args) -> None:
    """Raises UserError for data to train on without prompts, without any row, or with prompts that the model cannot be
    asked. A stream is not read, which would take what it holds."""
    if (columns := getattr(dataset, "column_names", None)) and "prompt" not in columns:
        raise UserError(f"the training data has no column prompt: it has {', '.join(columns)}")
    if not hasattr(dataset, "__len__"):
        return
    if len(dataset) == 0:
        raise UserError("the training data is empty")
    prompt, options = dataset[0]["prompt"], args.chat_template_kwargs or {}
    if not prompt:
        raise UserError("the first prompt of the training data is empty")
    if isinstance(prompt, str):
        text = prompt
    elif tokenizer.chat_template is None:
        raise UserError(
            "the prompts are conversations and the tokenizer has no chat template: set one, or give prompts as text"
        )
    else:
        text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False, **options)
    if args.budgets and text.rstrip().endswith(args.think_end):
        raise UserError(
            f"budgets bound the thinking, and the prompt ends with {args.think_end}, which has closed it: leave out "
            "what puts it there, such as enable_thinking in chat_template_kwargs"
        )
