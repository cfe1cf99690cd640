"""The worker processes of math-verify, as the asking process sees them: started when first needed, killed, replaced.

Every process that asks has workers of its own; its threads take turns. A worker that ends, hangs or talks nonsense
costs the one question that it had; the others go on with another worker. Nothing here waits without a bound.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass

START_SECONDS, REPLY_SECONDS = 120, 15  # wall-clock time until a worker is killed; the second on top of its CPU time
MAX_EXTENSIONS = 8  # of it, for a worker that would run and is kept from it by others
QUESTIONS_PER_WORKER = 8  # that wait, before a further worker is started
KEPT = 4096  # decisions that are remembered: the completions of a group often agree
MAX_STARTS = 3  # in a row that may fail

Pairs = tuple[tuple[str, str], ...]  # (answer, gold): a question is correct when all of them are equal
Options = tuple[tuple[str, float], ...]
Question = tuple[Pairs, Options]


class WorkerError(Exception):
    """No decision; the message says why."""


@dataclass(eq=False)
class Worker:
    process: subprocess.Popen
    deadline: float  # time.monotonic()
    extensions: int = 0
    question: Question | None = None
    ready: bool = False
    received: bytes = b""


_workers: list[Worker] = []
_kept: OrderedDict[Question, bool] = OrderedDict()
_lock = threading.Lock()
_starting = threading.RLock()  # a fork in another thread must not copy the pipes of a worker that is not listed yet


def max_workers() -> int:
    """Up to four, and no more than the CPUs that fall to this one of the training processes on this machine."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, min(4, cpus // max(1, int(local) if local.isdigit() else 1)))


def grade(questions: list[Question]) -> dict[Question, bool | WorkerError]:
    """The decision on each question, or the error that stands in its place."""
    with _lock:
        decisions = {question: _kept[question] for question in questions if question in _kept}
        waiting = deque(question for question in dict.fromkeys(questions) if question not in decisions)
        try:
            _work(waiting, decisions)
        except BaseException:
            stop()  # a reply that comes later could be taken for that of another question
            raise
        for question in questions:
            if isinstance(decisions[question], bool):
                _kept[question] = decisions[question]
                _kept.move_to_end(question)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
        return decisions


def _work(waiting: deque[Question], decisions: dict) -> None:
    failed_starts, reason = 0, ""
    while waiting or any(worker.question for worker in _workers):
        for worker in [worker for worker in _workers if worker.ready and not worker.question]:
            if not waiting:
                break
            if worker.process.poll() is not None or not _send(worker, waiting[0]):
                _remove(worker)  # it ended before it had the question
                continue
            waiting.popleft()
        wanted = min(max_workers(), -(-len(waiting) // QUESTIONS_PER_WORKER))
        while failed_starts < MAX_STARTS and sum(not worker.question for worker in _workers) < wanted:
            if len(_workers) >= max_workers():
                break
            try:
                _start()
            except OSError as error:  # no memory, no more processes
                failed_starts, reason = failed_starts + 1, str(error)
        if not _workers:
            for question in waiting:
                decisions[question] = WorkerError(f"math-verify does not start: {reason}")
            return waiting.clear()
        for worker, reply in _replies():
            question = worker.question
            if not worker.ready:
                worker.ready = reply == {"correct": True}
                if not worker.ready:
                    failed_starts, reason = failed_starts + 1, reply.get("error", reply)
                    _remove(worker)
                continue
            failed_starts, worker.question = 0, None
            correct = reply.get("correct")
            decisions[question] = (
                correct if isinstance(correct, bool) else WorkerError(f"math-verify: {reply.get('error', reply)}")
            )
            if reply.get("gone") or "MemoryError" in str(reply.get("error")):
                _remove(worker)


def _start() -> None:
    """Start a worker; OSError where the system does not allow it."""
    with _starting:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}._math_worker"], bufsize=0, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )  # fmt: skip
        _workers.append(Worker(process, time.monotonic() + START_SECONDS))
    os.set_blocking(process.stdin.fileno(), False)


def _send(worker: Worker, question: Question) -> bool:
    """Give a worker its question; False when it does not take it."""
    pairs, options = question
    data = json.dumps([pairs, dict(options)]).encode() + b"\n"
    worker.deadline, worker.extensions = time.monotonic() + REPLY_SECONDS + dict(options)["seconds"], 0
    poll = select.poll()
    poll.register(worker.process.stdin, select.POLLOUT)
    try:
        while data:
            if not poll.poll(max(0, worker.deadline - time.monotonic()) * 1000):
                return False
            data = data[worker.process.stdin.write(data) or 0 :]
    except OSError:
        return False
    worker.question = question
    return True


def _replies() -> list[tuple[Worker, dict]]:
    """Wait until a worker replies, ends, or has had its time. The last two are removed, with a reply in their name."""
    poll, now = select.poll(), time.monotonic()
    asked = {worker.process.stdout.fileno(): worker for worker in _workers if worker.question or not worker.ready}
    for descriptor in asked:
        poll.register(descriptor, select.POLLIN)
    replies = []
    nearest = min((worker.deadline for worker in asked.values()), default=now)
    for descriptor, _ in poll.poll(max(0, nearest - now) * 1000):
        worker = asked[descriptor]
        chunk = os.read(descriptor, 65536)
        worker.received += chunk
        if not chunk:
            _remove(worker, seconds_to_end=1)  # for the code that it ends with
            replies.append((worker, {"error": f"its process ended with {_ending(worker.process)}", "gone": True}))
        elif worker.received.endswith(b"\n"):
            line, worker.received = worker.received, b""
            try:
                reply = json.loads(line)
            except ValueError:
                reply = None
            if not isinstance(reply, dict):
                reply = {"error": f"said {line[:40]!r}", "gone": True}
            replies.append((worker, reply))
    for worker in asked.values():
        if worker.deadline > time.monotonic() or worker in [replied for replied, _ in replies]:
            continue
        if worker.extensions < MAX_EXTENSIONS and _is_starved(worker):
            worker.extensions += 1
            worker.deadline += REPLY_SECONDS
        else:
            _remove(worker)
            replies.append((worker, {"error": "no reply in time, its process was killed", "gone": True}))
    return replies


def _is_starved(worker: Worker) -> bool:
    """Whether a worker that is late waits for a CPU (Linux). One that computes for ever is ended by its own bounds."""
    try:
        with open(f"/proc/{worker.process.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "R"
    except OSError:
        return False


def _ending(process: subprocess.Popen) -> str:
    code = process.returncode
    return signal.Signals(-code).name if code is not None and code < 0 else f"code {code}"


def _remove(worker: Worker, seconds_to_end: float = 0) -> None:
    """Kill a worker that did not end within those seconds, collect it, close its pipes."""
    if worker in _workers:
        _workers.remove(worker)
    with contextlib.suppress(subprocess.TimeoutExpired):
        worker.process.wait(seconds_to_end)
    with contextlib.suppress(OSError):
        worker.process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):  # the kernel may hold on to it
        worker.process.wait(timeout=10)
    _close(worker)


def _close(worker: Worker) -> None:
    for pipe in (worker.process.stdin, worker.process.stdout):
        with contextlib.suppress(OSError):
            pipe.close()


def stop() -> None:
    """End the workers of this process."""
    while _workers:
        _remove(_workers[-1])


def _after_fork() -> None:
    """In a child: leave the workers to the parent, and hold none of their pipes, so that they see the parent's end."""
    global _lock, _starting
    _lock, _starting = threading.Lock(), threading.RLock()
    while _workers:
        worker = _workers.pop()
        _close(worker)
        worker.process.returncode = 0  # not a child of this process: nothing to wait for


atexit.register(stop)
os.register_at_fork(
    before=lambda: _starting.acquire(), after_in_parent=lambda: _starting.release(), after_in_child=_after_fork
)
