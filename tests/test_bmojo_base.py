"""The embedded base as a B'MOJO: made by its recipe, in need of its memory, and ready for training."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from timecost.cli import main
from timecost.evaluation.evaluate import evaluate
from timecost.tasks import arithmetic, resolve_model

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from train_arithmetic_base import BaseArguments, first_model  # noqa: E402

FOLDER = Path(resolve_model("arithmetic_base_bmojo"))


def test_it_is_what_the_recipe_makes_and_fits_the_wheel():
    recipe = yaml.safe_load((ROOT / "recipes" / "supervised" / "arithmetic_base_bmojo.yaml").read_text())
    fields = {name: value for name, value in recipe.items() if name in BaseArguments.__dataclass_fields__}
    made, shipped = first_model(BaseArguments(**fields)), json.loads((FOLDER / "config.json").read_text())
    for name in ("model_type", "budgets", "num_hidden_layers", "hidden_size", *recipe["bmojo"]):
        assert getattr(made.config, name) == shipped[name], name
    weights = load_file(FOLDER / "model.safetensors")
    assert {name: tensor.shape for name, tensor in made.named_parameters()} == {n: w.shape for n, w in weights.items()}
    assert (FOLDER / "model.safetensors").stat().st_size <= 4 * 2**20


def test_a_prompt_is_longer_than_its_window():
    longest = max(len(problem.prompt) for problem in arithmetic.problems("validation", 200))
    assert json.loads((FOLDER / "config.json").read_text())["sliding_window"] < longest - len("<think>")


@pytest.mark.slow
def test_without_its_eidetic_memory_it_forgets_operands(tmp_path):
    """The same weights with and without the set, on expressions of 8 to 10 operands."""
    forgetful = tmp_path / "forgetful"
    shutil.copytree(FOLDER, forgetful)
    config = json.loads((FOLDER / "config.json").read_text())
    (forgetful / "config.json").write_text(json.dumps({**config, "eidetic_size": 0}))

    def of_hard_ones(folder):
        record = evaluate(str(folder), "arithmetic", split="validation", num_problems=90, num_samples=4, seed=1)
        return sum(record["by_difficulty"][difficulty]["accuracy"] for difficulty in ("8", "9", "10")) / 3

    assert of_hard_ones(FOLDER) > of_hard_ones(forgetful) + 0.3


@pytest.mark.slow
def test_reinforcement_learning_moves_it_and_resumes(tmp_path):
    options = ["--config", "arithmetic_levin", "--model_name_or_path", "arithmetic_base_bmojo"]
    options += ["--output_dir", str(tmp_path), "--save_steps", "1", "--per_device_train_batch_size", "8"]
    options += ["--gradient_accumulation_steps", "1", "--num_generations", "4", "--max_completion_length", "32"]
    options += ["--num_eval_problems", "4", "--num_train_problems", "16", "--logging_steps", "1"]
    assert main(["train", *options, "--eval_strategy", "no", "--max_steps", "1"]) == 0
    assert main(["train", *options, "--eval_strategy", "no", "--max_steps", "2", "--resume", "auto"]) == 0
    summary = json.loads((tmp_path / "train_summary.json").read_text())
    assert summary["global_step"] == 2 and summary["metrics"]["timecost/tokens"] > 1
    before, after = (load_file(folder / "model.safetensors") for folder in (FOLDER, tmp_path))
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert [name for name in still if "innovation" in name or "ssm" in name or "proj" in name] == []
