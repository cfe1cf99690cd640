from types import SimpleNamespace

import pytest
from accelerate.utils import DistributedType
from conftest import build_chat_tokenizer
from datasets import Dataset
from transformers import ProcessorMixin

from timecost.errors import UserError
from timecost.unsupported import check_arguments, check_prompts, check_trainer


def arguments(**given):
    engines = {"use_vllm": False, "use_transformers_continuous_batching": False}
    return SimpleNamespace(**{**engines, "value_head": False, "mask_truncated_completions": False, **given})


@pytest.mark.parametrize(
    ("args", "model_type", "others", "message"),
    [
        (arguments(), "qwen3", {"tools": [print]}, "tools is not supported"),
        (arguments(use_vllm=True), "bmojo", {}, "neither to vLLM"),
        (arguments(value_head=True), "qwen3", {}, "pass joint_value"),
        (arguments(), "qwen3", {"verifier": [len]}, "verifier is one function"),
    ],
)
def test_arguments(args, model_type, others, message):
    model = SimpleNamespace(config=SimpleNamespace(model_type=model_type))
    with pytest.raises(UserError, match=message):
        check_arguments(args, model, None, {"verifier": len, **others})
    check_arguments(arguments(use_vllm=True), SimpleNamespace(), None, {"verifier": len})


def test_a_head_does_not_see_cut_thoughts_that_are_masked():
    args, others = arguments(mask_truncated_completions=True), {"verifier": len}
    with pytest.raises(UserError, match="a thought that was cut looks empty"):
        check_arguments(args, SimpleNamespace(), "head", others)
    check_arguments(args, SimpleNamespace(), None, others)


def asked_for(budgets=None, **chat_template_kwargs):
    return SimpleNamespace(budgets=budgets, chat_template_kwargs=chat_template_kwargs, think_end="</think>")


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


def test_prompts_that_cannot_be_asked():
    chat, plain = build_chat_tokenizer(), SimpleNamespace(chat_template=None)
    talk = [{"prompt": [{"role": "user", "content": "1+1?"}]}]
    for data, tokenizer, message in (
        (Dataset.from_list([{"question": "1+1?"}]), plain, "no column prompt: it has question"),
        ([], plain, "data is empty"),
        ([{"prompt": None}], plain, "first prompt of the training data is empty"),
        (talk, plain, "no chat template"),
    ):
        with pytest.raises(UserError, match=message):
            check_prompts(data, tokenizer, asked_for())
    check_prompts(iter(()), plain, asked_for())  # a stream tells nothing before it is read
    check_prompts(talk, chat, asked_for([8]))
    chat.chat_template += "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    with pytest.raises(UserError, match="which has closed it"):
        check_prompts(talk, chat, asked_for([8], enable_thinking=False))
    check_prompts(talk, chat, asked_for(enable_thinking=False))
