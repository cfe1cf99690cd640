"""The packaged recipes: each is read without a complaint, and those for language models train on two processes.

The runs use real GSM8K problems and a tiny untrained Qwen3. Their completions are written down (fixed_gsm8k.py), so
that rewards, advantages, gradients and updates must agree whatever the number of processes.
"""

import json
import os
import sys
from pathlib import Path

import pytest
from processes import finish

from timecost.cli import main
from timecost.options import find_recipe, load_recipe, read_options

ROOT = Path(__file__).parents[1]
TRAINING = [path.stem for path in (ROOT / "recipes").glob("*.yaml")]
SMALL = (
    "--task fixed_gsm8k:TASK --num_train_problems 6 --num_eval_problems 6 --num_generations 4 --num_generations_eval 4 "
    "--max_completion_length 48 --max_steps 2 --save_steps 2 --eval_steps 2 --gradient_accumulation_steps 1 "
    "--steps_per_generation 1 "
    "--bf16 false --dtype float32 --optim sgd --learning_rate 1 --warmup_steps 0"
)
COMPARED = [
    "loss", "grad_norm", "reward", "reward_std", "entropy", "timecost/accuracy", "timecost/thinking_tokens",
    "timecost/answer_tokens", "timecost/frac_no_signal",
]  # fmt: skip


@pytest.mark.parametrize("name", TRAINING)
def test_every_field_of_a_recipe_is_known(name):
    from trl import ModelConfig

    from timecost.config import TimeCostConfig
    from timecost.train import TrainArguments

    # A recipe for a GPU is read here as well: only its arithmetic is left out.
    types = (TrainArguments, TimeCostConfig, ModelConfig)
    args, config, model_args = read_options(types, ["--config", name, "--bf16=false", "--use_cpu"])
    assert args.task and model_args.model_name_or_path and config.output_dir == f"outputs/{name}"
    assert config.objective == load_recipe(find_recipe(name)).get("objective", "levin")


@pytest.mark.parametrize("name", TRAINING)
def test_a_recipe_says_how_to_run_it(name):
    head = find_recipe(name).read_text().split("\n\n")[0]
    assert f"timecost train --config {name}" in head


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["gsm8k_qwen3", "gsm8k_qwen3_lora"])
def test_a_recipe_samples_from_a_chat_model(recipe, tiny_qwen3, tmp_path, data_dir):
    small = SMALL.replace("fixed_gsm8k:TASK", "gsm8k").split()
    options = ["--config", recipe, "--model_name_or_path", tiny_qwen3, "--output_dir", str(tmp_path), *small]
    sizes = ["--per_device_train_batch_size", "4", "--per_device_eval_batch_size", "4"]
    assert main(["train", *options, *sizes, "--use_cpu"]) == 0
    summary = json.loads((tmp_path / "train_summary.json").read_text())
    assert (summary["world_size"], summary["global_step"]) == (1, 2)
    assert summary["metrics"]["timecost/verifier_errors"] == 0 and summary["metrics"]["timecost/tokens"] > 1


def run(command, folder: Path, model: str, per_device: int, recipe: str, extra: tuple = ()) -> dict:
    """Train with a recipe in small, 12 completions a step; returns the summary with the log and the weights."""
    from safetensors.torch import load_file

    sizes = ["--per_device_train_batch_size", str(per_device), "--per_device_eval_batch_size", str(per_device)]
    options = [
        "--config",
        recipe,
        "--model_name_or_path",
        model,
        "--output_dir",
        str(folder),
        *SMALL.split(),
        *sizes,
        *extra,
    ]
    path = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    result = finish([*command, *options], PYTHONPATH=path)
    assert result.returncode == 0, result.stdout + result.stderr
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    summary = json.loads((folder / "train_summary.json").read_text())
    weights = load_file(next(path for path in folder.glob("*.safetensors")))
    return {**summary, "log": [entry for entry in log if "loss" in entry], "weights": weights}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["gsm8k_qwen3", "gsm8k_qwen3_lora"])
def test_two_processes_give_what_one_gives(recipe, tiny_qwen3, tmp_path, data_dir):
    """12 completions in groups of 4: with two processes the second group lies on both."""
    import torch

    timecost = [sys.executable, "-m", "timecost.cli", "train"]
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
    config = ["--config_file", str(ROOT / "recipes/accelerate/two_cpu.yaml"), str(ROOT / "scripts/train.py")]
    one = run(timecost, tmp_path / "one", tiny_qwen3, 12, recipe)
    by_command = run([*timecost, "--num_processes", "2"], tmp_path / "by_command", tiny_qwen3, 6, recipe)
    by_accelerate = run([*accelerate, *config], tmp_path / "by_accelerate", tiny_qwen3, 6, recipe)

    assert (one["world_size"], by_command["world_size"], by_accelerate["world_size"]) == (1, 2, 2)
    assert one["log"][0]["timecost/accuracy"] == 0.5
    assert one["log"][0]["grad_norm"] > 1e-3 and one["log"][1]["grad_norm"] != one["log"][0]["grad_norm"]
    for two in (by_command, by_accelerate):
        for step_of_one, step_of_two in zip(one["log"], two["log"], strict=True):
            for name in COMPARED:
                assert step_of_two[name] == pytest.approx(step_of_one[name], abs=1e-4), (name, step_of_one["step"])
        for name in ("eval_timecost/accuracy", "eval_timecost/tokens", "eval_reward"):
            assert two["metrics"][name] == pytest.approx(one["metrics"][name], abs=1e-4)
        for name, weight in one["weights"].items():
            torch.testing.assert_close(two["weights"][name], weight, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["levin", "hapo"])
def test_an_objective_learns_the_same_on_two_processes(objective, tiny_qwen3, tmp_path, data_dir):
    """Histories, averages and styles come from all completions, so that state and advantages agree."""
    extra = ("--objective", objective, "--max_steps", "3", "--save_steps", "3", "--collapse_guard", "true")
    timecost = [sys.executable, "-m", "timecost.cli", "train"]
    one = run(timecost, tmp_path / "one", tiny_qwen3, 12, "gsm8k_qwen3", extra)
    two = run([*timecost, "--num_processes", "2"], tmp_path / "two", tiny_qwen3, 6, "gsm8k_qwen3", extra)
    assert (one["world_size"], two["world_size"]) == (1, 2)
    of_one, of_two = (json.loads((tmp_path / name / "advantages.json").read_text()) for name in ("one", "two"))
    assert len(of_one) == 3 and len(of_one[0]) == 12 and max(of_one[0]) > 0.1
    for step_of_one, step_of_two in zip(of_one, of_two, strict=True):
        assert step_of_two == pytest.approx(step_of_one, abs=1e-6)
    kept = [json.loads((tmp_path / name / "trainer_state.json").read_text()) for name in ("one", "two")]
    kept = [state["stateful_callbacks"]["KeepState"]["attributes"] for state in kept]
    if objective == "hapo":
        assert kept[0]["objective"]["shortest"] == kept[1]["objective"]["shortest"] != {}
    assert kept[1]["price_control"]["means"] == pytest.approx(kept[0]["price_control"]["means"], abs=1e-4)
