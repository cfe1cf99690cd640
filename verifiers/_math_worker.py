r"""The process in which math-verify runs, and how to ask it. Both ends of one pipe:

    ["0.5", "\\frac{1}{2}"]  ->  {"correct": true}  |  {"error": "TimeoutException: ..."}      one JSON value a line

`grade` starts the process when it is first needed, one for each process that asks, and starts another when it had to
kill it. The worker (`python -m timecost.verifiers._math_worker`) ends with its standard input, and the kernel bounds
its memory and, for each question, its CPU time: it ends even inside a long multiplication with nobody left to kill it.
"""

import atexit
import contextlib
import json
import logging
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from functools import lru_cache

START_SECONDS, REPLY_SECONDS = 60, 15  # wall-clock time until the worker is killed
STEP_SECONDS = 3  # wall-clock time of each step of math-verify: two parses, each comparison
CPU_SECONDS = 8  # of one question: SIGPROF then ends the process
MEMORY_BYTES = 2 << 30

_process: subprocess.Popen | None = None
_lock = threading.Lock()


class WorkerError(Exception):
    """The worker gave no decision; the message says why."""


@lru_cache(maxsize=4096)  # the completions of a group often agree; what raises is not kept
def grade(answer: str, gold: str) -> bool:
    """Whether math-verify takes `answer` for `gold`; WorkerError when it cannot say, or not in time."""
    with _lock:
        reply = _ask([answer, gold])
    if "error" in reply:
        raise WorkerError(f"math-verify: {reply['error']}")
    return reply["correct"]


def _ask(question: list[str]) -> dict:
    global _process
    try:
        if _process is None or _process.poll() is not None:
            _process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"{__package__}._math_worker"], bufsize=0, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONHASHSEED": "0"},
            )  # fmt: skip
            _read_reply(_process, START_SECONDS)
        _process.stdin.write(json.dumps(question).encode() + b"\n")
        return _read_reply(_process, REPLY_SECONDS)
    except BaseException as error:
        stop()  # its next reply could belong to this question
        if isinstance(error, OSError):
            raise WorkerError(f"the worker of math-verify is gone: {error}") from error
        raise


def _read_reply(process: subprocess.Popen, seconds: float) -> dict:
    descriptor, line = process.stdout.fileno(), b""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + seconds
    while not line.endswith(b"\n"):
        if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
            raise WorkerError(f"no reply from math-verify in {seconds} s")
        chunk = os.read(descriptor, 65536)
        if not chunk:
            raise WorkerError(f"the worker of math-verify ended with code {process.wait()}")
        line += chunk
    return json.loads(line)


def stop() -> None:
    """End the worker of this process, if there is one."""
    global _process
    if _process is not None:
        process, _process = _process, None
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def _after_fork() -> None:
    """In a child: leave the worker to the parent, and hold none of its pipes, so that it sees the parent's end."""
    global _process, _lock
    _lock = threading.Lock()
    if _process is not None:
        _process.stdin.close()
        _process.stdout.close()
        _process.returncode = 0  # not a child of this process: nothing to wait for
        _process = None


atexit.register(stop)
os.register_at_fork(after_in_child=_after_fork)


# In the worker --------------------------------------------------------------------------------------------------------


def compare(answer: str, gold: str) -> bool:
    """Ask math-verify. Raises whatever it raises, and ValueError for a gold answer that it cannot read."""
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig(boxed_match_priority=0)]
    expected, given = (
        parse(f"\\boxed{{{text}}}", config, parsing_timeout=STEP_SECONDS, raise_on_error=True)
        for text in (gold, answer)
    )
    equal = verify(expected, given, timeout_seconds=STEP_SECONDS, raise_on_error=True)
    if not equal and all(isinstance(reading, str) for reading in expected):  # compared letter by letter
        raise ValueError(f"cannot read the gold answer {gold[:40]!r}")
    return equal


def main() -> None:
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing that a library prints is taken for a reply
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(ValueError, OSError):  # macOS knows no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    question = ["1", "1"]  # loads math-verify before the clock of the first question starts; its reply means: ready
    while question:
        try:
            reply = {"correct": compare(*question)}
        except BaseException as error:  # the exception that its timeouts raise is not an Exception
            reply = {"error": f"{type(error).__name__}: {str(error)[:80]}"}
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(reply), file=replies)
        question = json.loads(sys.stdin.readline() or "null")
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)


if __name__ == "__main__":
    main()
