"""Grading of mathematical answers: what counts as the answer, what equals the gold one, and the worker process."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from timecost.verifiers import _math_worker
from timecost.verifiers.math import verify_math, verify_math_batch


def status(completion: str, gold: str) -> str:
    return verify_math(completion, gold).status


@pytest.mark.parametrize(
    "completion",
    [
        "48 / 2 = 24, 48 + 24 = 72\n#### 72",
        "The answer is $\\boxed{72}$.",
        "\\[\n\\boxed{72}\n\\]",
        "\\boxed{3}. Wait, \\boxed{72}",  # the last one counts
        "\\boxed{3}\n#### 72",
        "#### 3\nNo: \\boxed{72}",
        "<think>Is it \\boxed{3}?</think>\n#### 72",
        "so it is #### 3</think>#### 72",  # the prompt opened thinking
        "#### 72\n\nI hope this helps!",
        "#### $72.00",
        "#### **72**",
        "#### 72 clips",
        "#### 48 + 24 = 72",
        "#### x = 72",
        "\\boxed{72\\text{ clips}}",
    ],
)
def test_the_last_answer_counts(completion):
    assert status(completion, "72") == "correct"


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("", "no answer"),
        ("The answer is 72.", "no answer"),
        ("<think>48 + 24 = 72\n#### 72", "thinking never closed"),
        ("<think>a</think><think>#### 72", "thinking never closed"),
        ("#### 72</think>", "no answer"),
        ("#### 72\n" + "noise " * 20, "text goes on"),  # an entropy bonus must not pay for noise after the answer
        ("\\boxed{72}" + " noise" * 100, "text goes on"),
        ("\\boxed{72", "never closes"),
        ("####  \n", "is empty"),
        ("#### 71", "answered '71', not '72'"),
        ("#### 71 or 72", "answered"),
        ("#### 71, 72", "answered"),
        ("#### 72 million", "answered"),
        ("\\boxed{72}. Wait, \\boxed{3}", "answered '3'"),
        ("#### 72} \\boxed{3", "never closes"),
        ("#### 3}{72", "braces"),
    ],
)
def test_wrong_with_a_reason(completion, reason):
    verdict = verify_math(completion, "72")
    assert verdict.status == "incorrect"
    assert reason in verdict.reason


@pytest.mark.parametrize("expression", ["48+24", "144/2", "\\frac{144}{2}", "9 \\times 8", "90 - 18", "(9)(8) = 9 * 8"])
def test_an_expression_is_not_the_number_that_it_equals(expression):
    assert "not worked out" in verify_math(f"#### {expression}", "72").reason


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("1/2", "0.5"),
        ("\\frac12", "\\frac{1}{2}"),
        ("50\\%", "0.5"),
        ("-\\$1,080.50", "-1080.5"),
        ("1.2 \\times 10^3", "1200"),
        ("2\\sqrt{3}", "\\sqrt{12}"),
        ("x^2+2x+1", "(x+1)^2"),
        ("{2, 1}", "1, 2"),
        ("Evelyn", "\\text{Evelyn}"),
        ("7" * 1500, "7" * 1500),
    ],
)
def test_equal_in_another_form(answer, gold):
    assert status(f"\\boxed{{{answer}}}", gold) == "correct"


@pytest.mark.parametrize(
    ("answer", "gold"), [("12345678901234567891", "12345678901234567890"), ("0.34", "1/3"), ("x+1", "x"), ("m", "km")]
)
def test_different(answer, gold):
    assert status(f"\\boxed{{{answer}}}", gold) == "incorrect"


@pytest.mark.parametrize(
    "answer",
    ["9^{387420489}", "9^{9^{9}}", "2**3**4", "1e400000000", "100000!", "7" * 20_000,
     ",".join(map(str, range(20_000))), "{" * 40 + "x" + "}" * 40, "(" * 40 + "x" + ")" * 40],
)  # fmt: skip
def test_hostile_answers_are_wrong_without_a_question_to_the_worker(answer, monkeypatch):
    monkeypatch.setattr("timecost.verifiers.math.grade", None)
    assert status(f"\\boxed{{{answer}}}", "5") == "incorrect"


def test_an_answer_that_math_verify_cannot_decide_in_time_is_an_error_not_wrong():
    verdict = verify_math("\\boxed{((3^{99})^{99})^{9999}}", "5")
    assert verdict.status == "verifier_error"
    assert "Timeout" in verdict.reason


@pytest.mark.parametrize("gold", ["", "\\frac{"])
def test_an_unreadable_gold_answer_is_an_error(gold):
    assert status("#### 5 x", gold) == "verifier_error"


def test_batch_pairs_completions_with_golds():
    verdicts = verify_math_batch(["#### 1", "#### 1"], ["1", "2"])
    assert [verdict.score for verdict in verdicts] == [1.0, 0.0]
    with pytest.raises(ValueError):
        verify_math_batch(["#### 1"], ["1", "2"])


# The worker. Symbolic answers reach it; each test asks something new, since decisions are kept. -----------------------


def worker_pid() -> int:
    return _math_worker._process.pid


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_that_does_not_reply_is_killed_and_replaced(monkeypatch):
    assert status("\\boxed{a+1}", "1+a") == "correct"
    first = worker_pid()
    os.kill(first, signal.SIGSTOP)  # it cannot reply, however slow this process is
    monkeypatch.setattr(_math_worker, "REPLY_SECONDS", 0.1)
    assert "no reply" in verify_math("\\boxed{a+2}", "2+a").reason
    assert not is_running(first)
    monkeypatch.undo()
    assert status("\\boxed{a+2}", "2+a") == "correct"
    assert worker_pid() != first


def test_a_worker_that_was_killed_is_replaced():
    assert status("\\boxed{b+1}", "1+b") == "correct"
    os.kill(worker_pid(), signal.SIGKILL)
    assert status("\\boxed{b+2}", "2+b") in ("correct", "verifier_error")  # whether its end was seen before or after
    assert status("\\boxed{b+3}", "3+b") == "correct"


def test_any_thread_may_ask():
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda n: status(f"\\boxed{{c+{n}}}", f"{n}+c"), range(8)))
    assert verdicts == ["correct"] * 8


def test_a_forked_process_has_a_worker_of_its_own():
    assert status("\\boxed{d+1}", "1+d") == "correct"
    parents_worker = worker_pid()
    child = os.fork()
    if child == 0:
        fine = status("\\boxed{d+2}", "2+d") == "correct" and worker_pid() != parents_worker
        _math_worker.stop()
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert status("\\boxed{d+3}", "3+d") == "correct"
    assert worker_pid() == parents_worker


ASK = """
import os, signal, sys
from timecost.verifiers import _math_worker
from timecost.verifiers.math import verify_math
assert verify_math("\\\\boxed{x+1}", "1+x").status == "correct"
print(_math_worker._process.pid, flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("end", ["returned", "killed"])
def test_the_worker_ends_with_its_process(end):
    asker = subprocess.run([sys.executable, "-c", ASK, end], stdout=subprocess.PIPE, text=True, timeout=120)
    pid = int(asker.stdout)
    for _ in range(600):
        if not is_running(pid) or is_zombie(pid):
            return
        time.sleep(0.1)
    pytest.fail("the worker is still running")


def is_zombie(pid: int) -> bool:
    """Dead, and waiting for an init process that does not collect it, as in some containers."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], stdout=subprocess.PIPE, text=True, timeout=60).stdout
    return state.strip().startswith("Z")


BUSY_WORKER = """
from timecost.verifiers import _math_worker
_math_worker.CPU_SECONDS = 0.2
_math_worker.compare = lambda answer, gold: answer == "1" or 9**int(answer)
_math_worker.main()
"""


def test_the_kernel_ends_a_worker_that_is_lost_in_a_multiplication():
    command = [sys.executable, "-c", BUSY_WORKER]
    worker = subprocess.run(command, input=b'["387420489", "5"]\n', stdout=subprocess.PIPE, timeout=120)
    assert worker.stdout == b'{"correct": true}\n'  # ready, and no reply to the question
    assert worker.returncode == -signal.SIGPROF
