"""Loading: a task's problems and a model's folder are checked before anything is trained."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from timecost.errors import UserError
from timecost.loading import load_model_to_train, load_model_to_use, load_problems, load_tokenizer_to_train
from timecost.tasks.arithmetic import ARITHMETIC


def task_of(rows):
    from datasets import Dataset

    return dataclasses.replace(ARITHMETIC, name="toy", load=lambda split, **kwargs: Dataset.from_list(rows))


def test_problems_of_a_task():
    dataset = load_problems(ARITHMETIC, "train", 5, seed=0, conversational=False)
    assert len(dataset) == 5 and dataset[0]["prompt"].endswith("=<think>")


def test_all_problems_where_there_are_fewer_if_that_will_do(tmp_path):
    from timecost.tasks import get_task

    spec = "name: sums\nsplits: {train: sums.jsonl}\nprompt: '{q}'\nanswer: '{a}'\nverifier: exact\n"
    (tmp_path / "sums.yaml").write_text(spec)
    (tmp_path / "sums.jsonl").write_text('{"q": "1+1", "a": "2"}\n{"q": "1+2", "a": "3"}\n')
    task = get_task(str(tmp_path / "sums.yaml"))
    assert len(load_problems(task, "train", 128, 0, False, or_all=True)) == 2
    with pytest.raises(UserError, match="has 2 problems: num_problems cannot be 128"):
        load_problems(task, "train", 128, 0, False)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no problems"),
        ([{"prompt": "1+1", "answer": "2"}, {"prompt": "1+2", "answer": None}], "row 1 has no answer"),
        ([{"prompt": "1+1", "answer": " "}], "row 0 has no answer"),
        ([{"prompt": "", "answer": "2"}], "row 0 has no prompt"),
        ([{"prompt": "1+1", "solution": "2"}], "no column 'answer'"),
    ],
)
def test_problems_that_cannot_be_trained_on(rows, message):
    with pytest.raises(UserError, match=message):
        load_problems(task_of(rows), "train", None, seed=0, conversational=False)


def model_args(folder, **kwargs):
    from trl import ModelConfig

    return ModelConfig(model_name_or_path=str(folder), **kwargs)


def test_a_model_and_its_tokenizer(tiny_arithmetic):
    import torch

    assert load_model_to_train(model_args(tiny_arithmetic)).dtype == torch.float32
    assert load_model_to_train(model_args(tiny_arithmetic, dtype="bfloat16")).dtype == torch.bfloat16
    assert load_tokenizer_to_train(model_args(tiny_arithmetic)).padding_side == "left"


def test_an_adapter_is_not_trained_over(tiny_arithmetic, tmp_path):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(load_model_to_train(model_args(tiny_arithmetic)), LoraConfig(r=2, target_modules=["q_proj"]))
    model.save_pretrained(tmp_path)
    load_tokenizer_to_train(model_args(tiny_arithmetic)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is an adapter, which training would replace: merge it"):
        load_model_to_train(model_args(str(tmp_path)))


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "has no weights"),
        (lambda folder: (folder / "config.json").unlink(), "is not the folder of a model, it holds no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
        (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "has no tokenizer"),
        (cut_weights, "cannot be loaded"),
        (shutil.rmtree, "no model at"),
    ],
)
def test_a_model_folder_that_cannot_be_loaded(tiny_arithmetic, tmp_path, damage, message):
    folder = Path(shutil.copytree(tiny_arithmetic, tmp_path / "model"))
    damage(folder)
    with pytest.raises(UserError, match=message) as error:
        load_model_to_train(model_args(folder))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=message.replace("cannot be loaded", "cannot load model")) as error:
        load_model_to_use(str(folder))
    assert "\n" not in str(error.value)


def test_a_run_named_in_place_of_its_checkpoint(tmp_path):
    (tmp_path / "checkpoint-5").mkdir()
    with pytest.raises(UserError, match="holds no config.json: did you mean '.*checkpoint-5'"):
        load_model_to_use(str(tmp_path))


def test_a_model_that_is_nowhere():
    with pytest.raises(UserError, match="'nobody/nothing' cannot be loaded"):
        load_tokenizer_to_train(model_args("nobody/nothing"))
    with pytest.raises(UserError, match="no model: set model_name_or_path"):
        load_model_to_train(model_args(""))


def test_quantized_training_is_refused(tiny_arithmetic):
    with pytest.raises(UserError, match="quantized"):
        load_model_to_train(model_args(tiny_arithmetic, load_in_4bit=True))
