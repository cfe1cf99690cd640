"""Checkpoints that can be trusted: which are complete, and how a run goes on from one exactly where it stood.

transformers writes a checkpoint in place, file by file and from every process, so a run that is killed leaves a folder
that looks like one. `CheckpointCallback` writes a marker when every process has finished: the names and sizes of the
files. A checkpoint is complete when its marker is there and each file still has its size.
"""

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from timecost.errors import UserError

MARKER = "timecost_complete.json"


def checkpoints(output_dir) -> list[Path]:
    """The folders `checkpoint-N` of a run, newest step first."""
    found = [path for path in Path(output_dir).glob("checkpoint-*") if path.name.split("-")[1].isdigit()]
    return sorted(found, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """The optimizer step of a folder `checkpoint-N`."""
    return int(checkpoint.name.split("-")[1])


def mark_complete(checkpoint: Path) -> None:
    """Write the marker: to be called when every file of `checkpoint` has been written by all processes."""
    paths = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != MARKER]
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in paths}
    part = checkpoint / f"{MARKER}.part"
    part.write_text(json.dumps({"files": sizes}, indent=1) + "\n", encoding="utf-8")
    os.replace(part, checkpoint / MARKER)


def is_complete(checkpoint: Path) -> bool:
    """Whether the marker is there and every file that it names has the size that it had."""
    try:
        sizes = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))["files"]
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError):
        return False


def newest_complete(output_dir) -> Path | None:
    """The complete checkpoint of the latest step, or None."""
    return next(filter(is_complete, checkpoints(output_dir)), None)


def choose_checkpoint(output_dir, resume: str, path: str | None = None) -> Path | None:
    """The checkpoint to go on from, or None to start afresh.

    `resume`: "true" wants one, "auto" takes one if there is, "false" refuses a folder that holds any, because two runs
    in one folder would delete each other's checkpoints. `path` names one, whoever wrote it. Raises UserError.
    """
    if path is not None:
        if not (Path(path) / "trainer_state.json").is_file():
            raise UserError(f"{path} is not a checkpoint: it has no trainer_state.json")
        return Path(path)
    newest = newest_complete(output_dir)
    if resume == "false" and checkpoints(output_dir):
        remedy = f"continue from {newest.name} with --resume, or" if newest else "none is complete, so"
        raise UserError(f"{output_dir} holds checkpoints of an earlier run: {remedy} choose another --output_dir")
    if resume == "true" and newest is None:
        raise UserError(f"{output_dir} holds no complete checkpoint to resume from: leave --resume out to start afresh")
    return newest


def set_aside_incomplete(output_dir, keep: Path | None = None) -> list[str]:
    """Rename incomplete checkpoints, so that neither a later save nor the rotation takes them for good ones.

    Called by every process; returns their former names on the main one. `keep` stays where it is.
    """
    names = []
    PartialState().wait_for_everyone()
    if PartialState().is_main_process:
        for checkpoint in checkpoints(output_dir):
            if not is_complete(checkpoint) and (keep is None or checkpoint.resolve() != keep.resolve()):
                aside = checkpoint.with_name(f"incomplete-{checkpoint.name}")
                shutil.rmtree(aside, ignore_errors=True)
                checkpoint.rename(aside)
                names.append(checkpoint.name)
    PartialState().wait_for_everyone()
    return names


@contextmanager
def whole_folder(output_dir):
    """Gives a temporary folder to write into; its contents move into `output_dir` when all has been written.

    Entered by every process; after an error nothing is moved. The folder lies inside `output_dir`, on the same disk.
    """
    state = PartialState()
    folder = Path(output_dir) / ".saving"
    try:
        yield folder
        state.wait_for_everyone()
        if state.is_main_process:
            for path in sorted(folder.iterdir()):
                target = Path(output_dir) / path.name
                if target.is_dir():
                    shutil.rmtree(target)
                os.replace(path, target)
        state.wait_for_everyone()
    finally:
        if state.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)


class CheckpointCallback(TrainerCallback):
    """Marks checkpoints complete, removes old and unfinished ones, and resumes the order of the data.

    `save_total_limit` is taken over from transformers, which removes the old checkpoints before the new one is known
    to be complete: with a limit of 1, a run killed in that moment would have none.
    """

    def __init__(self, save_total_limit: int | None = None):
        self.save_total_limit = save_total_limit
        self.first_step = 0

    def on_step_end(self, args, state, control, **kwargs):
        self._folder(args, state).joinpath(MARKER).unlink(missing_ok=True)  # it is about to be written again

    def on_save(self, args, state, control, **kwargs):
        distributed = PartialState()
        distributed.wait_for_everyone()
        if args.should_save:
            mark_complete(self._folder(args, state))
            if self.save_total_limit:
                best = Path(state.best_model_checkpoint or "").name
                old = [folder for folder in checkpoints(args.output_dir) if folder.name != best]
                for folder in old[self.save_total_limit :]:
                    shutil.rmtree(folder, ignore_errors=True)
        distributed.wait_for_everyone()

    def on_train_begin(self, args, state, control, train_dataloader=None, **kwargs):
        # TRL's sampler draws a new order in each epoch from one generator; a resumed run has to draw the orders of the
        # epochs that lie behind it first.
        self.first_step = state.global_step
        sampler = find_sampler(train_dataloader)
        if sampler is not None:
            for _ in range(int(state.epoch or 0)):
                torch.randperm(sampler.num_samples, generator=sampler.generator)

    def remove_unfinished(self, args, state) -> None:
        """Remove the checkpoint of the step that was just made when it is not complete: its writing was cut short."""
        folder = self._folder(args, state)
        if args.should_save and state.global_step > self.first_step and not is_complete(folder):
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, args, state) -> Path:
        return Path(args.output_dir) / f"checkpoint-{state.global_step}"


class KeepState(TrainerCallback, ExportableState):
    """Keeps what parts of a run have learned (`state_dict`, JSON) in trainer_state.json, and gives it back on a resume.

    `parts`: name -> an object with state_dict and load_state_dict. It is the same on every process, so the main one's
    is kept.
    """

    def __init__(self, **parts):
        self.parts = parts

    def state(self) -> dict:
        return {"args": {}, "attributes": {name: part.state_dict() for name, part in self.parts.items()}}

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step:
            saved = (state.stateful_callbacks or {}).get(type(self).__name__, {}).get("attributes", {})
            for name, part in self.parts.items():
                if name in saved:
                    part.load_state_dict(saved[name])


class StopOnNonFinite(TrainerCallback):
    """Stops before a gradient that is not finite reaches the weights, and with them a checkpoint."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if args.fp16 or not gradients:  # fp16: the loss scaler skips such steps itself
            return
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # sharded parameters
        if not torch.isfinite(norm):
            raise UserError(
                f"the gradient is not finite at step {state.global_step}: training stopped before the weights were "
                "touched; lower learning_rate, or train in float32"
            )


def find_sampler(dataloader):
    """The shuffling sampler under accelerate's wrappers, or None."""
    batch_sampler = getattr(dataloader, "batch_sampler", None)
    while hasattr(batch_sampler, "batch_sampler"):
        batch_sampler = batch_sampler.batch_sampler
    sampler = getattr(batch_sampler, "sampler", None)
    return sampler if hasattr(sampler, "generator") and hasattr(sampler, "num_samples") else None
