"""Checkpoints: only a complete one counts, whatever cut the writing of another."""

import pytest
from accelerate import PartialState

from timecost.checkpoints import (
    MARKER,
    CheckpointCallback,
    StopOnNonFinite,
    choose_checkpoint,
    is_complete,
    mark_complete,
    newest_complete,
    set_aside_incomplete,
    whole_folder,
)
from timecost.errors import UserError

FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


@pytest.fixture(autouse=True)
def _on_the_cpu():
    PartialState(cpu=True)


def write_checkpoint(output_dir, step: int, *, complete: bool = True):
    folder = output_dir / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(f"{name} of step {step}")
    if complete:
        mark_complete(folder)
    return folder


def test_a_checkpoint_counts_when_its_marker_and_all_files_are_there(tmp_path):
    assert is_complete(write_checkpoint(tmp_path, 10))
    assert not is_complete(write_checkpoint(tmp_path, 20, complete=False))


@pytest.mark.parametrize("name", FILES)
def test_a_cut_or_missing_file_is_noticed(tmp_path, name):
    cut, missing = write_checkpoint(tmp_path, 10), write_checkpoint(tmp_path, 20)
    (cut / name).write_bytes((cut / name).read_bytes()[:-1])
    (missing / name).unlink()
    assert not is_complete(cut) and not is_complete(missing)


def test_a_cut_marker_is_noticed(tmp_path):
    folder = write_checkpoint(tmp_path, 10)
    (folder / MARKER).write_text((folder / MARKER).read_text()[:20])
    assert not is_complete(folder)


def test_the_newest_is_the_one_of_the_latest_step(tmp_path):
    for step in (90, 100):
        write_checkpoint(tmp_path, step)
    write_checkpoint(tmp_path, 110, complete=False)
    (tmp_path / "checkpoint-best").mkdir()
    assert newest_complete(tmp_path).name == "checkpoint-100"
    assert newest_complete(tmp_path / "nowhere") is None


def test_which_checkpoint_a_run_starts_from(tmp_path):
    assert choose_checkpoint(tmp_path, "false") is None
    assert choose_checkpoint(tmp_path, "auto") is None
    with pytest.raises(UserError, match="no complete checkpoint to resume from"):
        choose_checkpoint(tmp_path, "true")
    good, cut = write_checkpoint(tmp_path, 10), write_checkpoint(tmp_path, 20, complete=False)
    assert choose_checkpoint(tmp_path, "auto") == choose_checkpoint(tmp_path, "true") == good
    assert choose_checkpoint(tmp_path, "false", str(cut)) == cut  # named outright: written by another program, perhaps
    with pytest.raises(UserError, match="continue from checkpoint-10 with --resume"):
        choose_checkpoint(tmp_path, "false")
    with pytest.raises(UserError, match="no trainer_state.json"):
        choose_checkpoint(tmp_path, "false", str(tmp_path))


def test_incomplete_checkpoints_are_set_aside_and_kept(tmp_path):
    write_checkpoint(tmp_path, 10)
    write_checkpoint(tmp_path, 20, complete=False)
    named = write_checkpoint(tmp_path, 30, complete=False)
    assert set_aside_incomplete(tmp_path, keep=named) == ["checkpoint-20"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-10", "checkpoint-30", "incomplete-checkpoint-20"
    ]  # fmt: skip


def test_a_folder_is_written_whole(tmp_path):
    with whole_folder(tmp_path) as folder:
        folder.mkdir()
        (folder / "model.safetensors").write_text("weights")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_folder_whose_writing_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "model.safetensors").write_text("old")
    with pytest.raises(OSError), whole_folder(tmp_path) as folder:
        folder.mkdir()
        (folder / "model.safetensors").write_text("ne")
        raise OSError("the disk is full")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert (tmp_path / "model.safetensors").read_text() == "old"


class Arguments:
    should_save = True
    fp16 = False

    def __init__(self, output_dir):
        self.output_dir = str(output_dir)


class State:
    best_model_checkpoint = None

    def __init__(self, global_step):
        self.global_step = global_step


def test_old_checkpoints_go_once_the_new_one_is_complete(tmp_path):
    callback = CheckpointCallback(save_total_limit=1)
    for step in (10, 20):
        write_checkpoint(tmp_path, step, complete=False)
        callback.on_save(Arguments(tmp_path), State(step), None)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-20"]
    assert is_complete(tmp_path / "checkpoint-20")


def test_the_best_checkpoint_stays(tmp_path):
    callback = CheckpointCallback(save_total_limit=1)
    for step in (10, 20, 30):
        write_checkpoint(tmp_path, step, complete=False)
        state = State(step)
        state.best_model_checkpoint = str(tmp_path / "checkpoint-10")
        callback.on_save(Arguments(tmp_path), state, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-30"]


def test_only_what_this_run_was_writing_is_removed(tmp_path):
    foreign, cut = (write_checkpoint(tmp_path, step, complete=False) for step in (10, 20))
    callback = CheckpointCallback()
    callback.first_step = 10
    for step in (10, 20):
        callback.remove_unfinished(Arguments(tmp_path), State(step))
    assert foreign.is_dir() and not cut.exists()


def test_a_checkpoint_that_is_written_again_loses_its_marker_first(tmp_path):
    folder = write_checkpoint(tmp_path, 10)
    CheckpointCallback().on_step_end(Arguments(tmp_path), State(10), None)
    assert not is_complete(folder)


def test_a_gradient_that_is_not_finite_stops_the_training():
    import torch

    model = torch.nn.Linear(2, 2)
    (model(torch.ones(1, 2)).sum()).backward()
    StopOnNonFinite().on_pre_optimizer_step(Arguments(""), State(3), None, model=model)
    model.weight.grad[0, 0] = float("nan")
    with pytest.raises(UserError, match="not finite at step 3"):
        StopOnNonFinite().on_pre_optimizer_step(Arguments(""), State(3), None, model=model)
