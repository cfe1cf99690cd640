"""What `TimeCostTrainer` does not do, said before it would go wrong."""

from accelerate.utils import DistributedType
from transformers import ProcessorMixin

from timecost.errors import UserError


def check_arguments(args, model, joint_value, others: dict) -> None:
    """Raises UserError for what the trainer cannot do; `others` are the arguments that go to `GRPOTrainer`."""
    for name in ("tools", "rollout_func", "environment_factory"):
        if others.get(name):
            raise UserError(f"{name} is not supported: time is counted over one completion without tool calls")
    engines = args.use_vllm or args.use_transformers_continuous_batching
    if engines and getattr(getattr(model, "config", None), "model_type", None) == "bmojo":
        raise UserError("a B'MOJO is known neither to vLLM nor to continuous batching: set both to false")
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
