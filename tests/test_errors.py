"""Errors in one line: the nearest name, a full disk in its many disguises, refusals of libraries."""

import errno

import pytest

from timecost.errors import Terminated, UserError, is_disk_full, library_refusals, nearest


def test_the_nearest_name():
    assert nearest("learning_rat", ["learning_rate", "seed"]) == ", did you mean 'learning_rate'?"
    assert nearest("xyz", ["learning_rate", "seed"]) == ""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),  # safetensors
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),  # torch.save
    ],
)
def test_a_full_disk_is_recognised(error):
    assert is_disk_full(error)


def test_a_full_disk_is_recognised_behind_another_error():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as cause:
            raise RuntimeError("saving failed") from cause
    except RuntimeError as error:
        assert is_disk_full(error)
    assert not is_disk_full(OSError(errno.ENOENT, "No such file"))


def test_what_a_library_refuses_becomes_one_line_with_a_remedy():
    remedies = {"divisible": "change the batch"}
    with pytest.raises(UserError, match="^6 is not divisible by 4; change the batch$"), library_refusals(remedies):
        raise ValueError("6 is not\n   divisible by 4.")
    with pytest.raises(UserError, match="wandb"), library_refusals():
        raise RuntimeError("WandbCallback requires wandb to be installed.")
    with pytest.raises(RuntimeError, match="a bug"), library_refusals():
        raise RuntimeError("a bug")


def test_termination_is_a_kind_of_interruption():
    assert issubclass(Terminated, KeyboardInterrupt)
