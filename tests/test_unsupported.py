from types import SimpleNamespace

import pytest
from accelerate.utils import DistributedType
from transformers import ProcessorMixin

from timecost.errors import UserError
from timecost.unsupported import check_arguments, check_trainer


def arguments(**given):
    engines = {"use_vllm": False, "use_transformers_continuous_batching": False}
    return SimpleNamespace(**{**engines, "value_head": False, **given})


@pytest.mark.parametrize(
    ("args", "model_type", "others", "message"),
    [
        (arguments(), "qwen3", {"tools": [print]}, "tools is not supported"),
        (arguments(use_vllm=True), "bmojo", {}, "neither to vLLM"),
        (arguments(value_head=True), "qwen3", {}, "pass joint_value"),
    ],
)
def test_arguments(args, model_type, others, message):
    model = SimpleNamespace(config=SimpleNamespace(model_type=model_type))
    with pytest.raises(UserError, match=message):
        check_arguments(args, model, None, others)
    check_arguments(arguments(use_vllm=True), SimpleNamespace(), None, {})


def trainer(kind, zero_stage=None, processing_class=None, joint_value="head"):
    state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=zero_stage))
    return SimpleNamespace(
        accelerator=SimpleNamespace(distributed_type=kind, state=state), processing_class=processing_class,
        joint_value=joint_value,
    )  # fmt: skip


def test_a_head_beside_sharded_parameters():
    for kind, stage in ((DistributedType.FSDP, None), (DistributedType.DEEPSPEED, 3)):
        with pytest.raises(UserError, match="sharded parameters"):
            check_trainer(trainer(kind, stage))
        check_trainer(trainer(kind, stage, joint_value=None))
    check_trainer(trainer(DistributedType.DEEPSPEED, 2))
    check_trainer(trainer(DistributedType.MULTI_GPU))


def test_processors_of_images():
    with pytest.raises(UserError, match="pass the tokenizer"):
        check_trainer(trainer(DistributedType.NO, processing_class=ProcessorMixin()))
