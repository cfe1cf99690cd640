r"""The process in which math-verify runs: reads questions, writes decisions, one JSON value a line.

    [[["0.5", "\\frac{1}{2}"]], {"seconds": 2, "rounding": 6}]  ->  {"correct": true}  |  {"error": "TimeLimit"}

With `"gone": true` the worker ends after its reply. A question is a list of (answer, gold); it is correct when all of
them are equal. `python -m timecost.verifiers._math_worker` writes `{"correct": true}` when it is ready, and ends with
its standard input. `timecost.verifiers._math_pool` starts it.

Time is CPU time, so a busy machine decides like an idle one: ITIMER_PROF raises after `seconds`, and where Python is
lost inside one call in C, ITIMER_VIRTUAL ends the process a second later, with nobody left to kill it.
"""

import contextlib
import json
import logging
import os
import resource
import signal
import sys
from functools import lru_cache

MEMORY_BYTES = 2 << 30  # of address space
MAX_RESIDENT = 1 << 30  # bytes; after a question that took more, the worker ends and another takes its place
GRACE_SECONDS = 1


class TimeLimit(BaseException):
    """Not an Exception: a library that catches all of those goes on with its work."""


def compare(pairs: list[list[str]], rounding: int, inequality: bool = False) -> bool:
    """Whether math-verify takes each answer for its gold answer.

    Raises whatever it raises, and ValueError for a gold answer that it cannot read.
    """
    from math_verify import verify

    for answer, gold in pairs:
        expected = read_gold(gold)
        equal = verify(
            expected, read(answer), float_rounding=rounding, allow_set_relation_comp=inequality, timeout_seconds=None,
            raise_on_error=True,
        )  # fmt: skip
        if not equal and all(isinstance(reading, str) for reading in expected):  # compared letter by letter
            raise ValueError(f"cannot read the gold answer {gold[:40]!r}")
        if not equal:
            return False
    return True


def read(text: str) -> list:
    from math_verify import LatexExtractionConfig, parse

    config = [LatexExtractionConfig(boxed_match_priority=0)]
    return parse(f"\\boxed{{{text}}}", config, parsing_timeout=None, raise_on_error=True)


read_gold = lru_cache(maxsize=1024)(read)  # every completion of a group has the same one


def on_time_limit(number, frame):
    raise TimeLimit


def limit_time(seconds: float) -> None:
    """Bound the CPU time from now on; 0 takes the bounds away. Raises again and again, should something catch it."""
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.1 if seconds else 0)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds + GRACE_SECONDS if seconds else 0)


def decide(pairs: list[list[str]], options: dict) -> dict:
    try:
        try:
            limit_time(options.pop("seconds"))
            return {"correct": compare(pairs, **options)}
        finally:
            limit_time(0)
    except BaseException as error:
        return {"error": f"{type(error).__name__}: {str(error)[:80]}".rstrip(": ")}


def main() -> None:
    # What the asking process ignores or blocks is handed down, and would take the bounds away.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, on_time_limit)
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing that a library prints is taken for a reply
    logging.disable(logging.CRITICAL)
    for limit, value in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS knows no such limit
            resource.setrlimit(limit, (value, value))
    sys.setrecursionlimit(3000)
    print(json.dumps(decide([["x", "x"]], {"seconds": 100, "rounding": 6})), file=replies)  # loads math-verify
    unit = 1 if sys.platform == "darwin" else 1024
    for line in sys.stdin:
        reply = decide(*json.loads(line))
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit > MAX_RESIDENT:
            reply["gone"] = True
        print(json.dumps(reply), file=replies)
        if "gone" in reply:
            break


if __name__ == "__main__":
    main()
