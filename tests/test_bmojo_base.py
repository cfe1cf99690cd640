"""The embedded base as a B'MOJO: what its recipe makes of the packaged Llama, and training from it."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from timecost.cli import main
from timecost.tasks import arithmetic, resolve_model

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from train_arithmetic_base import BaseArguments, first_model  # noqa: E402


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> str:
    """Folder of the model that the recipe's training starts from."""
    from transformers import AutoTokenizer

    recipe = yaml.safe_load((ROOT / "recipes" / "arithmetic_base_bmojo.yaml").read_text())
    fields = {name: value for name, value in recipe.items() if name in BaseArguments.__dataclass_fields__}
    torch.manual_seed(0)
    model, folder = first_model(BaseArguments(**fields)), tmp_path_factory.mktemp("bmojo_base")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(resolve_model("arithmetic_base")).save_pretrained(folder)
    return str(folder)


def test_a_prompt_is_longer_than_its_window(converted):
    config = json.loads((Path(converted) / "config.json").read_text())
    assert (config["model_type"], config["budgets"]) == ("bmojo", list(arithmetic.BUDGETS))
    longest = max(len(problem.prompt) for problem in arithmetic.problems("validation", 200))
    assert config["sliding_window"] < longest - len("<think>") and config["eidetic_size"] > 0
    assert (Path(converted) / "model.safetensors").stat().st_size < 3.5 * 2**20


@pytest.mark.slow
def test_reinforcement_learning_moves_it(converted, tmp_path):
    options = ["--config", "arithmetic_levin", "--model_name_or_path", converted, "--output_dir", str(tmp_path)]
    options += ["--max_steps", "2", "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1"]
    options += ["--num_generations", "4", "--max_completion_length", "32", "--num_eval_problems", "4"]
    assert main(["train", *options, "--num_train_problems", "16", "--logging_steps", "1", "--eval_strategy", "no"]) == 0
    summary = json.loads((tmp_path / "train_summary.json").read_text())
    assert summary["global_step"] == 2 and summary["metrics"]["timecost/tokens"] > 1
    from safetensors.torch import load_file

    before, after = (load_file(Path(folder) / "model.safetensors") for folder in (converted, tmp_path))
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert [name for name in still if "innovation" in name or "ssm" in name or "proj" in name] == []
