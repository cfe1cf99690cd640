"""The command line: finds commands, answers at once, and tells errors in one line."""

import errno
import os
import signal
import subprocess
import sys
import types

import pytest

from timecost import cli
from timecost.errors import UserError


@pytest.fixture
def command(monkeypatch):
    """`command(run)` installs a command `try` that calls `run(argv)`."""

    def install(run):
        module = types.ModuleType("try_command")
        module.run = run
        monkeypatch.setitem(sys.modules, "try_command", module)
        monkeypatch.setitem(cli.COMMANDS, "try", ("try_command", "a command of the test"))

    return install


def raising(error):
    def run(argv):
        raise error

    return run


def test_help_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in ("demo", "train", "evaluate", "report", "validate"))


def test_options_reach_the_command_with_underscores_and_values_as_they_are(command):
    seen = []
    command(seen.extend)
    assert cli.main(["try", "--output-path=a-b", "--num-problems", "-1", "c-d"]) == 0
    assert seen == ["--output_path=a-b", "--num_problems", "-1", "c-d"]


def test_an_unknown_command_names_the_nearest(capsys):
    assert cli.main(["trian"]) == 2
    assert "unknown command 'trian', did you mean 'train'?" in capsys.readouterr().err


def test_a_user_error_is_one_line(command, capsys):
    command(raising(UserError("no model:\n  give one")))
    assert cli.main(["try"]) == 2
    assert capsys.readouterr().err == "error: no model: give one\n"


def test_a_full_disk_is_one_line(command, capsys):
    command(raising(OSError(errno.ENOSPC, "No space left on device", "results.json")))
    assert cli.main(["try"]) == 2
    assert capsys.readouterr().err == "error: the disk is full (results.json): free some space and start again\n"


def test_a_bug_keeps_its_traceback(command):
    command(raising(ValueError("a bug")))
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["try"])


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signals_are_one_line_and_clean_up_runs_once(command, capsys, number, code, word):
    cleaned = []

    def run(argv):
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            os.kill(os.getpid(), number)  # an impatient second signal does not break into the clean-up
            cleaned.append(True)
            raise

    command(run)
    before = signal.getsignal(number)
    assert cli.main(["try"]) == code
    assert capsys.readouterr().err == f"{word}\n"
    assert cleaned == [True]
    assert signal.getsignal(number) == before


def test_of_several_processes_the_main_one_speaks(command, capsys, monkeypatch):
    """Another one waits to be ended by the launcher, as torchrun does when the main one is gone."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(cli.time, "sleep", lambda seconds: os.kill(os.getpid(), signal.SIGTERM))
    command(raising(UserError("seen by every process")))
    assert cli.main(["try"]) == 143
    assert capsys.readouterr().err == ""


def test_the_installed_command_answers():
    out = subprocess.run(
        [sys.executable, "-m", "timecost.cli", "--version"], capture_output=True, text=True, timeout=60
    )
    assert (out.returncode, out.stdout) == (0, "timecost 0.1.0\n")
