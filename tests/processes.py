"""Child processes of tests, bounded in time: one that hangs is ended, and says where each of its threads stood."""

import os
import signal
import subprocess
import warnings

import psutil


def finish(command: list[str], seconds: float = 240, attempts: int = 2, **env: str) -> subprocess.CompletedProcess:
    """Run a command to its end; returns its exit code and what it said.

    What hangs is ended by SIGABRT, on which Python writes the stack of every thread. It is tried once more, with those
    stacks as a warning, since a fault of the machine should not fail what is tested; TimeoutError the second time.
    """
    for _ in range(attempts):
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONFAULTHANDLER": "1", **env},
        )  # fmt: skip
        try:
            said = process.communicate(timeout=seconds)
            return subprocess.CompletedProcess(command, process.returncode, *said)
        except subprocess.TimeoutExpired:
            stacks = f"{' '.join(command)} hung for {seconds} s\n{abort(process)}"
            warnings.warn(stacks, stacklevel=2)
    raise TimeoutError(stacks)


def abort(process: subprocess.Popen) -> str:
    """End a process and its descendants, the youngest first; returns the last that they said."""
    tree = [process.pid]
    if process.poll() is None:
        tree += [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    for number, seconds in ((signal.SIGABRT, 20), (signal.SIGKILL, 10)):
        for pid in reversed(tree):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        try:
            return process.communicate(timeout=seconds)[1][-20_000:]
        except subprocess.TimeoutExpired:
            continue
    return "something still holds its output open"
