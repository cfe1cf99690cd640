"""`timecost train`: reads a recipe, starts the processes, trains, saves.

    timecost train --config arithmetic_levin                        # one process
    timecost train --config gsm8k_qwen3 --num_processes 4           # starts accelerate itself
    accelerate launch --num_processes 4 scripts/train.py --config gsm8k_qwen3

Into `output_dir` go checkpoints, the model with its tokenizer, README.md (the model card), trainer_state.json (the log)
and train_summary.json.
"""

import json
import math
import os
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from timecost.errors import UserError, is_disk_full, library_refusals
from timecost.options import pop_option, read_options, recipe_names, with_underscores

USAGE = "timecost train --config NAME|PATH [--num_processes N] [--accelerate_config NAME|PATH] [--option value ...]"

# What TRL and transformers say -> what to do.
REMEDIES = {
    "divisible by num_generations": "change num_generations or per_device_train_batch_size",
    "divisible by the number of generations": "change per_device_eval_batch_size or num_generations_eval",
    "support bf16": "set bf16 to false",
}


@dataclass
class TrainArguments:
    """What to train on, and whether to go on with an earlier run."""

    task: str = field(default="", metadata={"help": "Name of the task: its problems, prompts and verifier."})
    num_train_problems: int | None = field(default=None, metadata={"help": "Problems to train on; None: all."})
    num_eval_problems: int | None = field(default=None, metadata={"help": "Problems to evaluate on; None: all."})
    resume: str = field(
        default="false",
        metadata={
            "help": "true: continue from the newest complete checkpoint in output_dir; auto: the same, or start afresh "
            "where there is none; false: start afresh in a folder without checkpoints.",
            "nargs": "?",
            "const": "true",
        },
    )

    def __post_init__(self):
        self.resume = str(self.resume).lower()
        if self.resume not in ("true", "false", "auto"):
            raise UserError(f"resume must be true, false or auto, not '{self.resume}'")
        for name in ("num_train_problems", "num_eval_problems"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, not {value}; leave it out for all problems")


def run(argv: list[str]) -> None:
    """Entry point of the command: starts accelerate where several processes are asked for, else trains here."""
    from timecost.launch import accelerate_options, launch

    argv = with_underscores(argv)
    if "LOCAL_RANK" in os.environ:  # one of the processes that accelerate or torchrun started
        return train(argv)
    num_processes, argv = pop_option(argv, "num_processes")
    accelerate_config, argv = pop_option(argv, "accelerate_config")
    if num_processes is not None and not (num_processes.isdigit() and int(num_processes) > 0):
        raise UserError(f"--num_processes must be a number of processes, not '{num_processes}'")
    options = accelerate_options(int(num_processes) if num_processes else None, accelerate_config)
    return launch(options, argv) if options else train(argv)


def train(argv: list[str]) -> None:
    """Train in this process, which may be one of several."""
    started = time.time()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    say("importing torch and TRL ...")
    from accelerate import PartialState
    from trl import ModelConfig, get_peft_config

    from timecost import checkpoints
    from timecost.budget import add_budget_tokens, rungs_in
    from timecost.config import TimeCostConfig
    from timecost.effort import add_effort_tokens, effort_token
    from timecost.launch import check_world_size
    from timecost.loading import load_model_to_train, load_problems, load_tokenizer_to_train
    from timecost.model_card import training_facts, write_card
    from timecost.progress import SummaryLine
    from timecost.prompt_tokens import think_end_id
    from timecost.tasks import get_task
    from timecost.trainer import TimeCostTrainer

    types = (TrainArguments, TimeCostConfig, ModelConfig)
    with library_refusals(REMEDIES):
        about = f"Recipes: {', '.join(recipe_names())}; accelerate: {', '.join(recipe_names('accelerate'))}."
        args, config, model_args = read_options(
            types, argv, defaults=machine_defaults(), usage=USAGE, description=about
        )
    check_world_size(PartialState().num_processes)
    check_settings(args, config)
    checkpoint = checkpoints.choose_checkpoint(config.output_dir, args.resume, config.resume_from_checkpoint)

    task = get_task(args.task)
    if config.think_end != task.think_end:
        raise UserError(
            f"think_end is {config.think_end!r}, and task {task.name} judges what follows {task.think_end!r}: set "
            f"--think_end to that, or train on a task of your own (a .yaml file) that has the model's think_end"
        )
    tokenizer = load_tokenizer_to_train(model_args, config.trust_remote_code)
    think_end_id(tokenizer, config.think_end)
    chat = tokenizer.chat_template is not None
    evaluates = config.eval_strategy != "no" or config.eval_on_start
    if config.beta and model_args.model_revision != "main":  # TRL loads the reference model itself
        config.model_init_kwargs = {"revision": model_args.model_revision, **(config.model_init_kwargs or {})}
    peft_config = get_peft_config(model_args)
    saver = checkpoints.CheckpointCallback(config.save_total_limit)
    config.save_total_limit = None  # the callback removes old checkpoints, once the new one is complete
    model = load_model_to_train(model_args, config.trust_remote_code, config.model_init_kwargs)
    token_ids = []
    if config.budgets and not getattr(model.config, "budgets", None):
        if known := rungs_in(tokenizer):
            model.config.budgets = known
        else:
            token_ids += add_budget_tokens(model, tokenizer, config.budgets)
            say(f"added the tokens of budgets {', '.join(map(str, config.budgets))} and inf to the model")
    known = getattr(model.config, "efforts", None) or {}
    if config.efforts and {effort_token(name) for name in config.efforts} - set(tokenizer.get_added_vocab()):
        token_ids += add_effort_tokens(model, tokenizer, config.efforts)
        say(f"added the tokens of efforts {', '.join(config.efforts)} to the model")
    if config.efforts:
        model.config.efforts = {**known, **config.efforts}  # what they mean in this training
    if token_ids and (config.use_vllm or (config.beta and peft_config is None)):
        raise UserError(
            "the model has just got tokens for budgets or efforts, and the one that beta or use_vllm loads from "
            f"{model_args.model_name_or_path} lacks them: save it with them first (timecost.budget.add_budget_tokens, "
            "then save_pretrained of model and tokenizer)"
        )
    if token_ids and peft_config is not None and not peft_config.trainable_token_indices:
        peft_config.trainable_token_indices = token_ids
    problems_held_out = None
    if evaluates:
        problems_held_out = load_problems(task, "validation", args.num_eval_problems, 0, chat, or_all=True)
    with library_refusals():
        trainer = TimeCostTrainer(
            model=model,
            args=config,
            train_dataset=load_problems(task, "train", args.num_train_problems, config.seed, chat),
            eval_dataset=problems_held_out,
            processing_class=tokenizer,
            verifier=task.reward,
            style_of=task.style_of,
            joint_value=joint_value(config, task, model, tokenizer),
            peft_config=peft_config,
            callbacks=[checkpoints.StopOnNonFinite(), saver, SummaryLine(say)],
        )
    trainer.task_name = task.name
    if checkpoint:
        say(f"continuing from {checkpoint}")
    try:
        for name in checkpoints.set_aside_incomplete(config.output_dir, keep=checkpoint):
            say(f"{name} is incomplete: renamed to incomplete-{name}")
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        with checkpoints.whole_folder(config.output_dir) as folder:
            trainer.save_model(str(folder), _internal_call=True)  # else it is pushed here, half of it
            save_joint_value(trainer, folder)
            if trainer.is_world_process_zero():
                trainer.state.save_to_json(str(folder / "trainer_state.json"))
                write_card(folder, training_facts(trainer, task.name))
                write_summary(folder / "train_summary.json", trainer, checkpoint, time.time() - started)
        if config.push_to_hub:
            trainer.push_to_hub()
    except BaseException as error:
        saver.remove_unfinished(config, trainer.state)
        if (message := advice(error, config, trainer.state.global_step)) is None:
            raise
        raise (type(error) if isinstance(error, KeyboardInterrupt) else UserError)(message) from error
    say(f"saved to {config.output_dir}")
    trainer.end()


def joint_value(config, task, model, tokenizer):
    """The value head that is fitted beside the policy, None without one. UserError for a task without exact answers."""
    if not config.value_head:
        return None
    if not task.exact_answer:
        raise UserError(
            f"value_head: the answers of task {task.name} are not exact, so that a probe would have to sample them: "
            "train without it, then run `timecost fit-value`"
        )
    from timecost.generation import end_ids
    from timecost.prompt_tokens import think_end_id
    from timecost.value.baseline import PrefixBaseline
    from timecost.value.joint import JointValueHead
    from timecost.value.steps import step_rule

    return JointValueHead(
        tokenizer, step_rule(tokenizer, task.step_end), think_end_id(tokenizer, config.think_end),
        end_ids(model, tokenizer), config.max_completion_length - 1, task.name, config.value_probe_share,
        seed=config.seed, baseline=PrefixBaseline() if config.value_baseline else None,
    )  # fmt: skip


def save_joint_value(trainer, folder: Path) -> None:
    """The head beside the model, fitted anew on the newest probes. Nothing where none were taken."""
    from timecost.value.head import save_value_head

    if trainer.joint_value is not None and trainer.joint_value.kept:
        save_value_head(trainer.joint_value.finish(), folder)


def machine_defaults() -> dict:
    """Settings that depend on the machine; a recipe and the command line may override them."""
    import torch

    # In DDP every parameter of a language model takes part in the loss; the search for others costs a pass.
    defaults = {"ddp_find_unused_parameters": False}
    several_on_a_mac = torch.backends.mps.is_available() and int(os.environ.get("WORLD_SIZE", 1)) > 1
    if several_on_a_mac or not torch.accelerator.is_available():
        defaults |= {"use_cpu": True, "bf16": False, "gradient_checkpointing": False}
    return defaults


def check_settings(args: TrainArguments, config) -> None:
    """Raises UserError for settings that only show together, before anything is loaded."""
    if not args.task:
        raise UserError("no task: set task, for example --task arithmetic, or give a recipe with --config")
    if not config.output_dir:
        raise UserError("no output_dir: set --output_dir to a folder for checkpoints and the trained model")
    if Path(config.output_dir).exists() and not Path(config.output_dir).is_dir():
        raise UserError(f"output_dir {config.output_dir} is a file: set --output_dir to a folder")
    # Completions that wait for their update are not in a checkpoint: an exact resume starts where new ones are drawn.
    micro_steps = config.steps_per_generation * config.num_iterations
    period = micro_steps // math.gcd(micro_steps, config.gradient_accumulation_steps)
    if config.save_strategy == "steps" and config.save_steps >= 1 and config.save_steps % period:
        raise UserError(
            f"save_steps ({config.save_steps:g}) must be a multiple of {period}, the optimizer steps that use the same "
            "completions: a run could not be resumed exactly from in between"
        )


def advice(error: BaseException, config, step: int) -> str | None:
    """What to tell of an error that ended the training, and where to continue; None for one that is a bug."""
    from timecost.checkpoints import newest_complete

    newest = newest_complete(config.output_dir)
    where = f"continue from {newest.name} with --resume" if newest else "no checkpoint was complete, so start again"
    if isinstance(error, KeyboardInterrupt):
        return f"at step {step}; {where}"
    if is_disk_full(error):
        return f"the disk of {config.output_dir} is full: free some space, then {where}"
    if type(error).__name__ == "OutOfMemoryError":
        return f"out of memory on the device: lower per_device_train_batch_size or max_completion_length, then {where}"
    if "probability tensor contains" in str(error):  # torch.multinomial
        return f"the model's probabilities are not finite at step {step}: lower learning_rate; {where}"
    return f"{error}; {where}" if isinstance(error, UserError) else None


def write_summary(path: Path, trainer, checkpoint: Path | None, elapsed: float) -> None:
    """Write how the run was made, by which versions on what machine, and the last value of all that it logged."""
    from timecost.provenance import provenance

    metrics = {}
    for entry in trainer.state.log_history:
        metrics |= entry
    summary = {
        "world_size": trainer.accelerator.num_processes,
        "global_step": trainer.state.global_step,
        "resumed_from": checkpoint.name if checkpoint else None,
        "elapsed_seconds": round(elapsed, 1),
        "metrics": {  # TRL logs None where nothing could be judged
            name: value if value is not None and math.isfinite(value) else None for name, value in metrics.items()
        },
        "provenance": provenance(),
    }
    path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def say(text: str) -> None:
    if int(os.environ.get("RANK", 0)) == 0:
        print(f"timecost train: {text}", file=sys.stderr, flush=True)
