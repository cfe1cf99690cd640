"""`timecost train`: what a run leaves behind, how it goes on after an interruption, and what it refuses."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import abort, finish

from timecost.checkpoints import newest_complete
from timecost.cli import main

# toy_task.py: an untrained model meets its verifier half the time, so that every step moves the weights.
COMMON = (
    "--task toy_task:TOY --num_train_problems 8 --per_device_train_batch_size 8 --num_generations 4 "
    "--max_completion_length 12 --learning_rate 1e-2 --logging_steps 1 --save_steps 1 --use_cpu --disable_tqdm true"
)


@pytest.fixture
def train(tiny_arithmetic):
    """`train(folder, "--option value")` runs the command in this process and returns its exit code."""

    def run(folder, options=""):
        model = ["--model_name_or_path", tiny_arithmetic]
        return main(["train", *COMMON.split(), *model, "--output_dir", str(folder), *options.split()])

    return run


def log_of(folder: Path) -> list[dict]:
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [{name: value for name, value in entry.items() if name != "step_time"} for entry in log if "loss" in entry]


def weights_of(folder: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(next(folder.glob("*.safetensors")))


def test_a_run_leaves_a_model_a_log_a_summary_and_a_card(train, tmp_path, capsys):
    from huggingface_hub import ModelCard
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert train(tmp_path, "--max_steps 3 --eval_strategy steps --eval_steps 3 --num_eval_problems 2") == 0
    AutoModelForCausalLM.from_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).encode("</think>", add_special_tokens=False)
    summary = json.loads((tmp_path / "train_summary.json").read_text())
    assert (summary["world_size"], summary["global_step"], summary["resumed_from"]) == (1, 3, None)
    assert summary["elapsed_seconds"] > 0 and summary["metrics"]["eval_timecost/tokens"] > 0
    assert summary["provenance"]["versions"]["trl"]
    assert [entry["step"] for entry in log_of(tmp_path)] == [1, 2, 3]
    assert not list(tmp_path.glob(".*"))
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.model_name == tmp_path.name and "| steps | 3 |" in card.text
    assert {result.metric_type for result in card.data.eval_results} == {"accuracy", "tokens"}
    assert "step 1 of 3: accuracy" in capsys.readouterr().err


def test_an_adapter_loads_on_top_of_its_model(train, tmp_path):
    from transformers import AutoModelForCausalLM

    assert train(tmp_path, "--max_steps 1 --use_peft --lora_r 4 --lora_target_modules all-linear") == 0
    assert (tmp_path / "adapter_model.safetensors").is_file() and not (tmp_path / "model.safetensors").exists()
    AutoModelForCausalLM.from_pretrained(tmp_path)


def test_push_to_hub_uploads_the_finished_folder_once(train, tmp_path, monkeypatch):
    from types import SimpleNamespace

    pushed = []

    def upload_folder(folder_path, commit_message, **kwargs):
        pushed.append((commit_message, {path.name for path in Path(folder_path).rglob("*") if path.is_file()}))
        pushed[-1][1].update(path.name for path in Path(folder_path).iterdir() if path.is_dir())

    api = SimpleNamespace(
        create_repo=lambda name, **kwargs: SimpleNamespace(repo_id=f"someone/{name}"), upload_folder=upload_folder
    )
    monkeypatch.setattr("transformers.trainer.hf_api", lambda: api)
    assert train(tmp_path, "--max_steps 1 --push_to_hub --hub_model_id fast --hub_strategy end") == 0
    [(message, names)] = pushed
    assert message == "End of training" and ".saving" not in names
    assert {"model.safetensors", "train_summary.json", "trainer_state.json", "README.md"} <= names


def test_help_names_recipes_and_options(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(text in out for text in ("gsm8k_qwen3_lora", "two_cpu", "--num_train_problems", "--time_elasticity"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "steps"),
    [
        # 8 problems, 2 a step: 4 steps an epoch. From within the first epoch, its end, and within the second.
        ("--max_steps 7 --eval_strategy steps --eval_steps 2 --num_eval_problems 2", [3, 4, 5]),
        ("--max_steps 6 --use_peft --lora_r 4 --lora_dropout 0.1 --lora_target_modules q_proj v_proj", [3]),
        # Completions serve two optimizer steps; a checkpoint stands where new ones are drawn.
        ("--max_steps 12 --save_steps 2 --num_iterations 2 --gradient_accumulation_steps 2", [4, 10]),
        ("--max_steps 12 --save_steps 2 --steps_per_generation 2", [4, 10]),
        # Objectives and a price that have learned something on the way.
        ("--max_steps 8 --objective hapo", [6]),
        ('--max_steps 8 --objective dual --objective_kwargs={"budget":5,"rate":0.5} --collapse_guard true', [3]),
        ("--max_steps 9 --price_schedule dual --max_mean_cost 4 --price_rate 0.5", [7]),
    ],
)
def test_a_resumed_run_gives_the_same_numbers_as_one_that_never_stopped(train, tmp_path, options, steps):
    whole = tmp_path / "whole"
    assert train(whole, options) == 0
    for step in steps:
        resumed = tmp_path / f"from_{step}"
        shutil.copytree(whole / f"checkpoint-{step}", resumed / f"checkpoint-{step}")
        assert train(resumed, f"{options} --resume") == 0
        assert json.loads((resumed / "train_summary.json").read_text())["resumed_from"] == f"checkpoint-{step}"
        assert log_of(resumed) == log_of(whole)
        assert all((weights_of(resumed)[name] == weight).all() for name, weight in weights_of(whole).items())


def test_a_head_beside_the_policy_knows_every_token_that_ends_a_completion(tiny_arithmetic):
    from timecost.config import TimeCostConfig
    from timecost.loading import load_model_to_use
    from timecost.tasks import get_task
    from timecost.train import joint_value

    model, tokenizer = load_model_to_use(tiny_arithmetic)
    model.generation_config.eos_token_id = [9, tokenizer.eos_token_id]
    config = TimeCostConfig(output_dir="unused", bf16=False, value_head=True)
    assert joint_value(config, get_task("arithmetic"), model, tokenizer).eos_ids == [tokenizer.eos_token_id, 9]
    assert joint_value(TimeCostConfig(output_dir="unused", bf16=False), None, model, tokenizer) is None


def test_a_summary_says_what_was_never_known(tmp_path):
    from types import SimpleNamespace

    from timecost.train import write_summary

    state = SimpleNamespace(log_history=[{"a": 1.0, "b": None}, {"c": float("nan")}], global_step=1)
    trainer = SimpleNamespace(state=state, accelerator=SimpleNamespace(num_processes=1))
    write_summary(tmp_path / "summary.json", trainer, None, 1.0)
    assert json.loads((tmp_path / "summary.json").read_text())["metrics"] == {"a": 1.0, "b": None, "c": None}


def test_a_bmojo_trains_and_loads_like_any_model(train, tmp_path):
    from timecost.loading import load_model_to_use
    from timecost.models.bmojo import BMojoConfig, BMojoForCausalLM
    from timecost.tasks.arithmetic import build_tokenizer

    tokenizer = build_tokenizer()
    config = BMojoConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        ssm_head_dim=16, sliding_window=8, eidetic_size=8, max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    BMojoForCausalLM(config).save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    assert train(tmp_path / "out", f"--max_steps 2 --model_name_or_path {tmp_path / 'start'}") == 0
    model, _ = load_model_to_use(str(tmp_path / "out"))
    before = BMojoForCausalLM.from_pretrained(tmp_path / "start")
    assert type(model) is BMojoForCausalLM
    assert not (model.get_input_embeddings().weight == before.get_input_embeddings().weight).all()


@pytest.mark.parametrize("options", ["--beta 0.1", "--use_vllm true --use_peft --lora_r 4"])
def test_another_copy_of_the_model_without_the_new_tokens_is_refused(train, tiny_qwen3, tmp_path, capsys, options):
    task = f"--task toy_task:CHAT --model_name_or_path {tiny_qwen3} --max_steps 1 --budgets 8 --max_completion_length 9"
    assert train(tmp_path, f"{task} {options}") == 2
    assert "lacks them: save it with them first" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", "--use_peft --lora_r 4 --lora_target_modules q_proj v_proj"])
def test_a_model_gets_the_tokens_of_the_budgets_that_it_is_trained_on(train, tiny_qwen3, tmp_path, capsys, options):
    from timecost.generation import generate
    from timecost.loading import load_model_to_use

    task = f"--task toy_task:CHAT --model_name_or_path {tiny_qwen3} --max_steps 5"
    task += " --budgets 8 16 --max_completion_length 20"
    assert train(tmp_path, f"{task} {options}") == 0
    assert "added the tokens of budgets 8, 16 and inf" in capsys.readouterr().err
    model, tokenizer = load_model_to_use(str(tmp_path))
    (reply,) = generate(model, tokenizer, [[{"role": "user", "content": "1+1?"}]], [12], max_answer_tokens=4)
    assert reply.rung == 8 and reply.thinking_tokens <= 12
    (before, after) = (
        load_model_to_use(folder)[0].get_input_embeddings().weight for folder in (tiny_qwen3, str(tmp_path))
    )
    rows = after[len(before) :] if not options else after[-3:]
    assert len(rows) == 3 and not (rows[0] == rows[1]).all(), "the rows of the new tokens were trained"


@pytest.mark.slow
@pytest.mark.parametrize("enforce", ["false", "true"])
def test_a_resumed_run_draws_the_budgets_of_one_that_never_stopped(train, with_ladder, tmp_path, enforce):
    options = f"--model_name_or_path {with_ladder} --max_steps 6 --budgets 8 16 --enforce_budgets {enforce}"
    options += " --budget_inf_share 0.6"
    options += " --max_completion_length 20 --gradient_accumulation_steps 2 --steps_per_generation 1"
    assert train(tmp_path / "whole", options) == 0
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "resumed" / "checkpoint-3")
    assert train(tmp_path / "resumed", f"{options} --resume") == 0
    assert log_of(tmp_path / "resumed") == log_of(tmp_path / "whole")
    drawn = [[name for name in entry if name.endswith("/accuracy")] for entry in log_of(tmp_path / "whole")]
    assert len(set(map(tuple, drawn))) > 1, "the rungs differ from step to step"


def test_a_cut_checkpoint_is_passed_over(train, tmp_path, capsys):
    assert train(tmp_path, "--max_steps 2") == 0
    optimizer = tmp_path / "checkpoint-2" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-1])
    assert train(tmp_path, "--max_steps 3 --resume auto") == 0
    assert "checkpoint-2 is incomplete: renamed to incomplete-checkpoint-2" in capsys.readouterr().err
    assert json.loads((tmp_path / "train_summary.json").read_text())["resumed_from"] == "checkpoint-1"
    assert sorted(path.name for path in tmp_path.glob("*checkpoint-*")) == [
        "checkpoint-1", "checkpoint-2", "checkpoint-3", "incomplete-checkpoint-2"
    ]  # fmt: skip


def test_two_runs_do_not_share_a_folder(train, tmp_path, capsys):
    assert train(tmp_path, "--max_steps 1 --resume auto") == 0
    assert train(tmp_path, "--max_steps 1") == 2
    assert "continue from checkpoint-1 with --resume, or choose another --output_dir" in capsys.readouterr().err


REFUSED = {
    "--learning_rat 1": "unknown option 'learning_rat', did you mean 'learning_rate'?",
    "--learning_rate fast": "learning_rate: invalid float value: 'fast'",
    "--task toy": "unknown task 'toy'",
    "--task=": "no task: set task",
    "--num_train_problems 0": "num_train_problems must be at least 1",
    "--num_generations 3": "must be divisible by num_generations (3); change num_generations or per_device",
    "--eval_strategy steps --eval_steps 1 --per_device_eval_batch_size 6": "change per_device_eval_batch_size",
    "--num_iterations 2": "save_steps (1) must be a multiple of 2",
    "--resume": "no complete checkpoint to resume from",
    "--resume perhaps": "resume must be true, false or auto",
    "--resume_from_checkpoint nowhere": "nowhere is not a checkpoint",
    "--think_end <stop>": "task toy judges what follows '</think>'",
    "--model_name_or_path ./nowhere": "no model at './nowhere'",
    "--objective length": "unknown objective 'length'",
    "--use_peft --lora_target_modules nowhere": "nowhere not found in the base model",
    "--num_processes two": "--num_processes must be a number",
    "--accelerate_config single --num_processes 2": "starts one process, not 2",
}


@pytest.mark.parametrize("options", REFUSED)
def test_bad_input_is_told_in_one_line_and_leaves_nothing(train, tmp_path, capsys, options):
    assert train(tmp_path / "out", options) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and REFUSED[options] in line
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_an_output_dir_that_is_a_file(train, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert train(tmp_path / "out") == 2
    assert "is a file" in capsys.readouterr().err


def disk_full_at(monkeypatch, owner, name, when):
    """Let a method write half of what it should and fail like a full disk, when `when(*args)` says so."""
    original = getattr(owner, name)

    def method(self, output_dir, *args, **kwargs):
        if when(self, output_dir):
            os.makedirs(output_dir, exist_ok=True)
            (Path(output_dir) / "model.safetensors").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, output_dir, *args, **kwargs)

    monkeypatch.setattr(owner, name, method)


def test_a_full_disk_at_a_checkpoint(train, tmp_path, capsys, monkeypatch):
    from transformers import Trainer

    disk_full_at(monkeypatch, Trainer, "_save_rng_state", lambda trainer, folder: trainer.state.global_step == 2)
    assert train(tmp_path, "--max_steps 3") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(" is full: free some space, then continue from checkpoint-1 with --resume")
    assert not (tmp_path / "checkpoint-2").exists() and not (tmp_path / "model.safetensors").exists()
    monkeypatch.undo()
    assert train(tmp_path, "--max_steps 3 --resume") == 0


def test_a_full_disk_at_the_end(train, tmp_path, capsys, monkeypatch):
    from timecost.trainer import TimeCostTrainer

    disk_full_at(monkeypatch, TimeCostTrainer, "save_model", lambda trainer, folder: "checkpoint" not in folder)
    assert train(tmp_path, "--max_steps 2") == 2
    assert "free some space, then continue from checkpoint-2 with --resume" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.glob("*") if path.name != "README.md") == [
        "checkpoint-1", "checkpoint-2"
    ]  # fmt: skip


def test_a_gradient_that_is_not_finite_stops_the_run(train, tmp_path, capsys, monkeypatch):
    import torch

    monkeypatch.setattr(torch.nn.utils, "get_total_norm", lambda gradients: torch.tensor(float("inf")))
    assert train(tmp_path, "--max_steps 2") == 2
    assert "the gradient is not finite at step 0" in capsys.readouterr().err
    assert not list(tmp_path.glob("checkpoint-*"))


def test_weights_that_blow_up_are_told_in_one_line(train, tmp_path, capsys):
    assert train(tmp_path, "--max_steps 5 --learning_rate 1e30 --optim sgd --save_strategy no") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "lower learning_rate" in line and "no checkpoint was complete" in line


@pytest.mark.slow
@pytest.mark.parametrize(("num_processes", "number", "code"), [(1, signal.SIGINT, 130), (2, signal.SIGTERM, 143)])
def test_a_stopped_run_says_where_to_continue(tiny_arithmetic, tmp_path, num_processes, number, code):
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    options = ["--model_name_or_path", tiny_arithmetic, "--output_dir", str(tmp_path / "out"), "--max_steps", "100000"]
    command = [
        sys.executable,
        "-m",
        "timecost.cli",
        "train",
        "--num_processes",
        str(num_processes),
        *COMMON.split(),
        *options,
    ]
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [*command, *COMMON.split(), "--save_total_limit", "1"],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1"},
        )
        try:
            deadline = time.monotonic() + 240
            while not list((tmp_path / "out").glob("checkpoint-*/timecost_complete.json")):
                assert process.poll() is None and time.monotonic() < deadline, "no checkpoint was written"
                time.sleep(0.1)
            process.send_signal(number)
            assert process.wait(timeout=60) == code
        except (AssertionError, subprocess.TimeoutExpired):
            abort(process)  # on which Python writes its stacks
            print((tmp_path / "stderr").read_text()[-20_000:])
            raise
    lines = (tmp_path / "stderr").read_text().splitlines()
    word = {130: "interrupted", 143: "terminated"}[code]
    (line,) = [line for line in lines if line.startswith(word)]
    checkpoint = newest_complete(tmp_path / "out").name
    assert line.startswith(f"{word} at step ") and line.endswith(f"continue from {checkpoint} with --resume")
    assert not any("Traceback" in line for line in lines)


@pytest.mark.slow
def test_an_error_of_several_processes_is_told_once(tmp_path):
    command = [sys.executable, "-m", "timecost.cli", "train", "--num_processes", "2", "--output_dir", str(tmp_path)]
    result = finish([*command, "--learning_rat", "1"])
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: unknown option 'learning_rat'")
    assert result.stderr.count("error: ") == 1 and "Traceback" not in result.stderr
