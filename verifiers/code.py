r"""Code: runs a completion's program on the inputs of a problem and compares what it returned with what is expected.

The candidate and the expected values never share a process. A sandbox (`sandbox.py`) gets the program and the inputs
and gives back data of builtin types; this process compares. What the candidate does to the process that it runs in
(patching builtins, writing results itself, leaving early) can only change its own answers. Kinds of problems, by key:

    inputs, outputs                              programs that read standard input and print (lists of text)
    entry_point, canonical_solution, base_input  functions called with inputs (EvalPlus: also plus_input, atol, prompt)
    canonical_solution, test or test_list        assertions (HumanEval, MBPP)
    test_list                                    assertions without a solution: weak

Expected outputs come from the canonical solution in a sandbox of its own, once for each problem. Assertions are turned
into inputs by recording the calls that they make of the canonical solution. A candidate whose outputs are not the same
is still right when the assertions hold on its outputs, which a third sandbox decides without the candidate. Only
assertions without a canonical solution run beside the candidate: they are weak, and the verdict's reason says so.
"""

import ast
import contextlib
import hashlib
import json
import marshal
import math
import os
import re
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property

from .sandbox import CodeLimits, Sandbox, SandboxFailed, SandboxUnavailable, shared_sandbox
from .verdict import Verdict

THINK_START, THINK_END = "<think>", "</think>"
MAX_CHARACTERS = 200_000  # of a program
# Of the run of a canonical solution. A candidate may take FACTOR times as long as it did, or its own limits if longer.
REFERENCE = CodeLimits(cpu_seconds=120, wall_seconds=500, memory_bytes=4 << 30, output_bytes=1 << 30)
FACTOR = 4
CACHED_PROBLEMS = 1024
RTOL, FLOAT_ATOL = 1e-7, 1e-6

_FENCE = re.compile(r"^[ \t]*```[ \t]*[\w+-]*[ \t]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


class ProblemError(ValueError):
    """A problem that cannot be used: it lacks a part, or its own solution does not run."""


@dataclass
class Reference:
    """What is known about a problem after its canonical solution ran."""

    names: list[str]  # functions that are called
    payload: bytes  # marshal of the inputs: [(name, args, kwargs)], or texts
    expected: list[bytes]
    seconds: float = 0.0
    mode: str = "call"
    test: str = ""  # assertions, where outputs may differ and still be right
    weak: bool = False
    decoded: dict[int, object] = field(default_factory=dict)

    @cached_property
    def size(self) -> int:
        """Bytes of the expected results."""
        return sum(map(len, self.expected))


def verify_code(
    completion: str, problem: dict, limits: CodeLimits | None = None, unsafe_no_sandbox: bool = False
) -> Verdict:
    """Grade one completion; see the module for what a `problem` holds.

    The program is the last fenced block after the end of thinking, or the text itself; a text that does not define
    `entry_point` continues `prompt`. A program that fails, runs out of its limits, or gives any wrong result is
    incorrect. A sandbox that ends through no fault of the program, and a problem whose canonical solution fails, are a
    verifier_error. Raises SandboxUnavailable where no sandbox can be started: code never runs without one, unless
    `unsafe_no_sandbox` is True.

    >>> verify_code("```python\nprint(int(input()) + 1)\n```", {"inputs": ["1"], "outputs": ["2"]}).status
    'correct'
    """
    sandbox = shared_sandbox(unsafe_no_sandbox)
    try:
        return _verify(completion, problem, limits or CodeLimits(), sandbox)
    except SandboxUnavailable:
        raise
    except Exception as error:  # one sample must not end the run of all others
        return Verdict.verifier_error(f"{type(error).__name__}: {error}"[:300])


def verify_code_batch(
    completions: list[str], problems: list[dict], limits: CodeLimits | None = None, unsafe_no_sandbox: bool = False,
    workers: int | None = None,
) -> list[Verdict]:  # fmt: skip
    """`verify_code` of each pair, `workers` at a time (as many as processors). ValueError when lengths differ."""
    if len(completions) != len(problems):
        raise ValueError(f"{len(completions)} completions for {len(problems)} problems")
    shared_sandbox(unsafe_no_sandbox)
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as threads:
        return list(threads.map(lambda *pair: verify_code(*pair, limits, unsafe_no_sandbox), completions, problems))


def extract_code(completion: str, problem: dict) -> tuple[list[str] | None, str]:
    """The sources to run one after the other, or None and the reason why there are none."""
    text = completion.rpartition(THINK_END)[2]
    if THINK_START in text:
        return None, "thinking never closed"
    blocks = _FENCE.findall(text)
    code = blocks[-1] if blocks else text
    if not code.strip():
        return None, "no code"
    if len(code) > MAX_CHARACTERS:
        return None, "the code is too long"
    prompt, name = problem.get("prompt", ""), problem.get("entry_point")
    if not name or "inputs" in problem:
        return [code], ""
    if re.search(rf"^(?:async\s+)?(?:def|class)\s+{re.escape(name)}\b|^{re.escape(name)}\s*[:=]", code, re.MULTILINE):
        return ([prompt, code] if _defines(prompt, name) else [code]), ""
    return ([prompt + code] if _defines(prompt, name) else [code]), ""


def _defines(prompt: str, name: str) -> bool:
    """Whether a prompt is the head of a function, as in HumanEval: its imports and helpers belong to the program."""
    return re.search(rf"^def\s+{re.escape(name)}\b", prompt, re.MULTILINE) is not None


def _verify(completion: str, problem: dict, limits: CodeLimits, sandbox: Sandbox) -> Verdict:
    sources, reason = extract_code(completion, problem)
    if sources is None:
        return Verdict.incorrect(reason)
    known = reference(problem, sandbox)
    if known.weak:
        return _verify_weak(sources, known, limits, sandbox)
    limits = replace(
        limits, output_bytes=max(limits.output_bytes, 4 * known.size),
        cpu_seconds=max(limits.cpu_seconds, FACTOR * known.seconds),
        wall_seconds=max(limits.wall_seconds, 2 * FACTOR * known.seconds),
    )  # fmt: skip
    header, count = {"mode": known.mode, "sources": sources, "digests": not known.test}, len(known.expected)
    different = []

    def accept(i: int, line: bytes) -> bool:
        if line == known.expected[i] or _equal(line, i, known, problem):
            return True
        different.append(i)
        return bool(known.test) and line.startswith(b"=")

    outcome = sandbox.run(header, known.payload, count, limits, accept)
    if outcome.wrong is not None:
        return Verdict.incorrect(_describe(outcome.lines[-1], outcome.wrong, known))
    if len(outcome.lines) < count:
        return Verdict.incorrect(f"{len(outcome.lines)} of {count} results: {outcome.ended}")
    return _judge(outcome.lines, known, problem, sandbox) if different else Verdict.correct()


def _verify_weak(sources: list[str], known: Reference, limits: CodeLimits, sandbox: Sandbox) -> Verdict:
    header = {"mode": "call", "sources": [*sources, known.test]}
    outcome = sandbox.run(header, known.payload, 1, limits)
    if outcome.lines == [b"=null"]:
        return replace(Verdict.correct(), reason="weak: the assertions ran beside the candidate")
    return Verdict.incorrect(f"weak: {outcome.lines[0].decode(errors='replace')[:100] if outcome.lines else 'no end'}")


def _judge(lines: list[bytes], known: Reference, problem: dict, sandbox: Sandbox) -> Verdict:
    """Whether assertions hold on outputs that are not those of the canonical solution."""
    try:
        results = [decode(line[1:]) for line in lines]
        payload = marshal.dumps(results)
    except (ValueError, RecursionError):
        return Verdict.incorrect("a result is not of a builtin type")
    header = {"mode": "judge", "sources": _trusted(problem), "names": known.names, "test": known.test}
    outcome = sandbox.run(header, payload, 1, REFERENCE)
    if outcome.lines and outcome.lines[0].startswith(b"="):
        return Verdict.correct()
    said = outcome.lines[0][1:].decode(errors="replace") if outcome.lines else outcome.ended
    return Verdict.incorrect(f"an assertion fails: {said[:100]}")


def _describe(line: bytes, i: int, known: Reference) -> str:
    given, expected = (text[:60].decode(errors="replace") for text in (line, known.expected[i]))
    if given.startswith("!"):
        return f"input {i}: {given[1:]}"
    return f"input {i}: {given[1:]}, not {expected[1:]}"


# What is expected -----------------------------------------------------------------------------------------------------

_references: "OrderedDict[str, Reference]" = OrderedDict()
_lock = threading.Lock()
_locks: dict[str, threading.Lock] = {}


def reference(problem: dict, sandbox: Sandbox) -> Reference:
    """The inputs and expected outputs of a problem, computed once in this process. Raises ProblemError."""
    key = _key(problem)
    with _lock:
        if key in _references:
            _references.move_to_end(key)
            return _references[key]
        lock = _locks.setdefault(key, threading.Lock())
    with lock:
        if key not in _references:
            known = _compute(problem, sandbox)
            with _lock:
                _references[key] = known
                _locks.pop(key, None)
                while len(_references) > CACHED_PROBLEMS:
                    _references.popitem(last=False)
        return _references[key]


def _key(problem: dict) -> str:
    """The content of a problem, so that two of one name are not taken for each other."""
    try:
        content = marshal.dumps(sorted(problem.items()), 2)  # version 2 has no references, which depend on identity
    except ValueError as error:
        raise ProblemError(f"the problem holds something that is not data: {error}") from error
    return hashlib.sha256(content).hexdigest()


def _compute(problem: dict, sandbox: Sandbox) -> Reference:
    if "inputs" in problem:
        return _programs(problem)
    test = problem.get("test") or "\n".join(problem.get("test_list", ()))
    if "base_input" in problem:
        return _functions(problem, sandbox)
    if test:
        return _assertions(problem, test, sandbox)
    raise ProblemError("a problem needs inputs and outputs, base_input, test or test_list")


def _programs(problem: dict) -> Reference:
    inputs, outputs = problem["inputs"], problem.get("outputs")
    if not isinstance(outputs, list) or not inputs or len(inputs) != len(outputs):
        raise ProblemError("a problem with inputs needs as many outputs, and at least one")
    if not all(isinstance(text, str) for text in [*inputs, *outputs]):
        raise ProblemError("inputs and outputs of a program are text")
    expected = [b"=" + json.dumps(text, separators=(",", ":")).encode() for text in outputs]
    return Reference([], marshal.dumps(inputs), expected, mode="stdio")


def _functions(problem: dict, sandbox: Sandbox) -> Reference:
    name = problem["entry_point"]
    inputs = [*problem["base_input"], *problem.get("plus_input", ())]
    if not inputs:
        raise ProblemError("no inputs")
    payload = marshal.dumps([(name, tuple(args), {}) for args in inputs])
    header = {"mode": "call", "sources": _trusted(problem), "digests": True}
    outcome = _run_trusted(header, payload, len(inputs), sandbox)
    for i, line in enumerate(outcome.lines):
        if not line.startswith(b"="):
            raise ProblemError(f"the canonical solution raises on input {i}: {line[1:100].decode(errors='replace')}")
    return Reference([name], payload, outcome.lines, outcome.seconds)


def _assertions(problem: dict, test: str, sandbox: Sandbox) -> Reference:
    name = problem.get("entry_point")
    test = "\n".join([*problem.get("test_imports", ()), test])
    if name and re.search(r"^def check\(", test, re.MULTILINE):
        test += f"\ncheck({name})\n"
    if not _solution(problem):
        test = f"def _weak():\n    exec(compile({test!r}, '<test>', 'exec'), globals())\n"
        return Reference([], marshal.dumps([("_weak", (), {})]), [b"=null"], test=test, weak=True)
    names = [name] if name else _called(_solution(problem), test)
    header = {"mode": "record", "sources": _trusted(problem), "names": names, "test": test}
    outcome = sandbox.run(header, marshal.dumps(None), 1_000_000, REFERENCE)
    if not outcome.lines or outcome.lines[0] != b"=null":
        said = outcome.lines[0][1:].decode(errors="replace") if outcome.lines else outcome.ended
        raise ProblemError(f"the canonical solution fails its own assertions: {said[:150]}")
    half = (len(outcome.lines) - 1) // 2
    if half == 0:
        raise ProblemError("the assertions call no function of the canonical solution")
    calls = [decode(line[1:]) for line in outcome.lines[1 : 1 + half]]
    return Reference(names, marshal.dumps(calls), outcome.lines[1 + half :], outcome.seconds, test=test)


def _run_trusted(header: dict, payload: bytes, count: int, sandbox: Sandbox):
    outcome = sandbox.run(header, payload, count, REFERENCE)
    if len(outcome.lines) < count:
        said = outcome.lines[0][1:150].decode(errors="replace") if outcome.lines else ""
        raise ProblemError(f"the canonical solution gives {len(outcome.lines)} of {count}: {outcome.ended} {said}")
    return outcome


def _solution(problem: dict) -> str:
    return problem.get("canonical_solution") or problem.get("code") or ""


def _trusted(problem: dict) -> list[str]:
    """The sources of the canonical solution, which in HumanEval continues the prompt."""
    prompt = problem.get("prompt", "")
    if problem.get("entry_point") and _defines(prompt, problem["entry_point"]):
        return [prompt + _solution(problem)]
    return [_solution(problem)]


def _called(solution: str, test: str) -> list[str]:
    """Functions that a solution defines and its assertions name."""
    defined = {node.name for node in ast.parse(solution).body if isinstance(node, ast.FunctionDef)}
    named = [node.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)]
    return [name for name in dict.fromkeys(named) if name in defined]


# Comparison -----------------------------------------------------------------------------------------------------------


class Opaque:
    """A value that is no data; equal to nothing but itself."""


def decode(text: bytes):
    """A value from its canonical form (`_sandbox_child.encode`). Raises ValueError or RecursionError for any other."""
    try:
        return _decode(json.loads(text))
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"not a value: {error}") from error


def _decode(value):
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, body),) = value.items()
    if kind == "t":
        return tuple(_decode(item) for item in body)
    if kind == "d":
        return {_decode(key): _decode(item) for key, item in body}
    if kind in "sz" and kind:
        return (set if kind == "s" else frozenset)(_decode(item) for item in body)
    if kind == "i":
        return int(body, 16)
    if kind == "f":
        return float(body)
    if kind == "b":
        return bytes.fromhex(body)
    if kind == "c":
        return complex(*map(float, body))
    return Opaque()


def _equal(line: bytes, i: int, known: Reference, problem: dict) -> bool:
    """Whether a result is right although it is not, byte for byte, what is expected."""
    if not line.startswith(b"="):
        return False
    try:
        value = decode(line[1:])
        if i not in known.decoded:
            known.decoded[i] = decode(known.expected[i][1:])
        expected = known.decoded[i]
        if known.mode == "stdio":
            return isinstance(value, str) and _words(value) == _words(expected)
        compare = problem.get("compare", "equal")
        if compare == "set":  # lists whose order and repetitions do not count
            return isinstance(value, (list, tuple, set)) and set(value) == set(expected)
        if compare == "found":  # a match, or None
            return (value if isinstance(value, bool) else value is not None) == (
                expected if isinstance(expected, bool) else expected is not None
            )
        if compare == "root":  # a zero of the polynomial whose coefficients are the input
            (coefficients,) = marshal.loads(known.payload)[i][1]
            if type(value) not in (int, float):
                return False
            return abs(sum(c * math.pow(value, power) for power, c in enumerate(coefficients))) <= problem["atol"]
        return not known.test and same(value, expected, problem.get("atol", 0))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return False


def _words(text: str) -> list[str]:
    """Lines without what trails them: what a person compares of two print-outs."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def same(value, expected, atol: float = 0) -> bool:
    """`==` between builtin values; floats within `atol` and a relative 1e-7, `atol` of 0 meaning 1e-6 for them."""
    if value is expected:
        return True
    if type(value) is float and type(expected) is float:
        if math.isnan(value) or math.isnan(expected):
            return math.isnan(value) and math.isnan(expected)
        return value == expected or abs(value - expected) <= (atol or FLOAT_ATOL) + RTOL * abs(expected)
    if isinstance(expected, (list, tuple)):
        return (
            type(value) is type(expected)
            and len(value) == len(expected)
            and all(same(a, b, atol) for a, b in zip(value, expected, strict=True))
        )
    if type(expected) is dict:
        return (
            type(value) is dict
            and value.keys() == expected.keys()
            and all(same(value[key], expected[key], atol) for key in expected)
        )
    with contextlib.suppress(OverflowError):
        return value == expected
    return False


__all__ = ["CodeLimits", "SandboxFailed", "SandboxUnavailable", "extract_code", "verify_code", "verify_code_batch"]
