"""The worker processes: whoever asks gets the same decisions, and one that is lost costs one question."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from timecost.verifiers import _math_pool
from timecost.verifiers.math import MathPolicy, verify_math, verify_math_batch

pytestmark = pytest.mark.timeout(300)
# Symbolic answers reach a worker; each test asks something new, since decisions are kept.


def ask(name: str, numbers=range(1, 4)) -> list[str]:
    """The verdicts on `name + number`, right for odd numbers."""
    completions = [f"\\boxed{{{name}+{n}}}" for n in numbers]
    return [v.status for v in verify_math_batch(completions, [f"{n + (n % 2 == 0)}+{name}" for n in numbers])]


RIGHT = ["correct", "incorrect", "correct"]


def one(name: str):
    return verify_math(f"\\boxed{{{name}+1}}", f"1+{name}")


def worker_pid() -> int:
    return _math_pool._workers[0].process.pid


def is_running(pid: int) -> bool:
    """False for a zombie, too: some containers have no process that collects them."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_for_end(pid: int) -> bool:
    for _ in range(600):
        if not is_running(pid):
            return True
        time.sleep(0.1)
    return False


def test_any_thread_may_ask():
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, ["a", "b", "c", "d"])) == [RIGHT] * 4


def test_inside_a_running_event_loop():
    async def main():
        return ask("f"), await asyncio.to_thread(ask, "g")

    assert asyncio.run(main()) == (RIGHT, RIGHT)


def test_the_callers_alarm_is_left_alone():
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        assert one("h").status == "correct"
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_a_forked_process_has_workers_of_its_own():
    assert one("k").status == "correct"
    parents = worker_pid()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if ask("l") == RIGHT and worker_pid() != parents else 2
            _math_pool.stop()
        finally:
            os._exit(code)
    deadline = time.monotonic() + 240
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.05)
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert one("m").status == "correct"
    assert worker_pid() == parents


# Without a `__main__` guard, as a user would write it.
SCRIPT = """
import os, signal, sys
from timecost.verifiers import _math_pool
from timecost.verifiers.math import verify_math_batch
names = ["x", "y", "z"]
verdicts = verify_math_batch([f"\\\\boxed{{{n}+1}}" for n in names], ["1+x", "2+y", "1+z"])
print(*[v.status for v in verdicts], _math_pool._workers[0].process.pid, flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_two_processes_at_once_and_workers_that_end_with_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    asking = [
        subprocess.Popen([sys.executable, str(script), end], stdout=subprocess.PIPE, text=True)
        for end in ("returned", "killed")
    ]
    try:
        outputs = [process.communicate(timeout=240)[0].split() for process in asking]
    finally:
        for process in asking:
            process.kill()
    assert [output[:3] for output in outputs] == [RIGHT] * 2
    assert all(wait_for_end(int(output[3])) for output in outputs)


# Workers that are lost ------------------------------------------------------------------------------------------------


def with_worker(monkeypatch, code: str) -> None:
    """Let workers started from now on run `code` before `main`, with `compare` to replace."""
    _math_pool.stop()
    monkeypatch.setattr(_math_pool, "max_workers", lambda: 1)
    program = (
        f"from timecost.verifiers import _math_worker as w\nimport os, signal, time\nreal = w.compare\n{code}\nw.main()"
    )
    popen = subprocess.Popen

    def start(command, **kwargs):
        return popen([sys.executable, "-P", "-c", program], **kwargs)

    monkeypatch.setattr(_math_pool.subprocess, "Popen", start)


@pytest.fixture(autouse=True)
def fresh_workers_afterwards(monkeypatch):
    yield
    if _math_pool.subprocess.Popen is not POPEN:
        monkeypatch.undo()
        _math_pool.stop()


POPEN = subprocess.Popen

LOST = {
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "hung": ("signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(1000)", "no reply in time"),
    "raising": ("raise RuntimeError('a bug')", "RuntimeError: a bug"),
    "leaving": ("os._exit(3)", "code 3"),
    "lost in C": ("__import__('collections').deque(__import__('itertools').repeat(0), 0)", "SIGVTALRM"),
    "computing for ever": ("[0 for _ in iter(int, 1)]", "TimeLimit"),
}


LOSING = """
def compare(pairs, **options):
    if "n+2" in pairs[0][0]:
        {action}
    return real(pairs, **options)
w.compare = compare
"""


@pytest.mark.parametrize("way", LOST)
def test_a_worker_lost_in_mid_batch_costs_one_question(way, monkeypatch):
    action, reason = LOST[way]
    with_worker(monkeypatch, LOSING.format(action=action))
    monkeypatch.setattr(_math_pool, "REPLY_SECONDS", 8 if way == "hung" else 100)
    completions = [f"\\boxed{{n+{n}}}" for n in range(1, 5)]
    golds = [f"{n}+n" for n in range(1, 4)] + ["5+n"]
    _math_pool._kept.clear()
    verdicts = verify_math_batch(completions, golds, MathPolicy(seconds=0.5))
    assert [v.status for v in verdicts] == ["correct", "verifier_error", "correct", "incorrect"]
    assert reason in verdicts[1].reason


def test_what_is_no_reply_is_an_error(monkeypatch):
    with_worker(monkeypatch, "w.decide = lambda pairs, options: {'correct': True} if 'x' in pairs[0][0] else [1]")
    assert "said b'[1]" in one("o").reason
    assert one("o").status == "verifier_error"  # errors are not kept


def test_idle_workers_that_died_are_replaced_without_an_error():
    assert one("p").status == "correct"
    for worker in list(_math_pool._workers):
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait(timeout=60)
    assert one("q").status == "correct"


def test_a_stopped_worker_is_killed_and_replaced(monkeypatch):
    assert one("r").status == "correct"
    while len(_math_pool._workers) > 1:
        _math_pool._remove(_math_pool._workers[-1])
    first = worker_pid()
    os.kill(first, signal.SIGSTOP)
    monkeypatch.setattr(_math_pool, "REPLY_SECONDS", 0.1)
    assert "no reply in time" in verify_math("\\boxed{r+2}", "2+r", MathPolicy(seconds=0.1)).reason
    assert not is_running(first)
    monkeypatch.undo()
    assert one("s").status == "correct"


def test_workers_that_cannot_start_are_an_error_with_the_reason(monkeypatch):
    with_worker(monkeypatch, "import sys; sys.modules['math_verify'] = None")
    verdicts = verify_math_batch(["\\boxed{t+1}", "#### 3", "\\boxed{t+2}"], ["1+t", "3", "2+t"])
    assert [v.status for v in verdicts] == ["verifier_error", "correct", "verifier_error"]
    assert "math-verify does not start: " in verdicts[0].reason and "math_verify" in verdicts[0].reason


def test_a_worker_that_took_much_memory_ends_after_its_reply(monkeypatch):
    with_worker(monkeypatch, "w.MAX_RESIDENT = 1")
    assert ask("u") == RIGHT


def test_memory_is_bounded(monkeypatch):
    with_worker(monkeypatch, "w.compare = lambda pairs, **options: 'x' in pairs[0][0] or bytearray(3 << 30)")
    assert "MemoryError" in one("v").reason


def test_signals_that_the_asker_ignores_or_blocks_still_bound_the_worker(monkeypatch):
    """A handler of SIG_IGN and a blocked signal are handed down to a child."""
    with_worker(monkeypatch, "w.compare = lambda pairs, **k: 'x' in pairs[0][0] or [0 for _ in iter(int, 1)]")
    numbers = [signal.SIGPROF, signal.SIGVTALRM]
    handlers = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        assert "TimeLimit" in verify_math("\\boxed{w+1}", "1+w", MathPolicy(seconds=0.2)).reason
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)


def test_nothing_leaks():
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    assert one("z").status == "correct"
    _math_pool.stop()
    before = descriptors()
    for name in ("A", "B", "C"):
        assert one(name).status == "correct"
        _math_pool.stop()
    assert descriptors() == before


def test_several_questions_start_several_workers(monkeypatch):
    _math_pool.stop()
    monkeypatch.setattr(_math_pool, "max_workers", lambda: 2)
    monkeypatch.setattr(_math_pool, "QUESTIONS_PER_WORKER", 1)
    assert ask("D", range(1, 9)) == ["correct", "incorrect"] * 4
    assert len(_math_pool._workers) == 2


@pytest.mark.parametrize(("local", "expected"), [("1", 4), ("4", 2), ("16", 1), ("?", 4)])
def test_processes_on_one_machine_share_its_cpus(monkeypatch, local, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
    assert _math_pool.max_workers() == expected
