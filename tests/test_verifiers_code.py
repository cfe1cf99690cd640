"""Code verification: right programs are correct, and what pretends to be right is not."""

import os

import pytest

from timecost.verifiers import code as module
from timecost.verifiers.code import extract_code, same, verify_code, verify_code_batch
from timecost.verifiers.sandbox import Bubblewrap, CodeLimits, SandboxUnavailable

ADD = {
    "prompt": 'from typing import List\n\ndef total(xs: List[int]) -> int:\n    """ Sum. """\n',
    "entry_point": "total",
    "canonical_solution": "    return sum(xs)\n",
    "base_input": [[[1, 2]], [[]]],
    "plus_input": [[list(range(50))]],
    "atol": 0,
}
ASSERTED = {
    "code": "def roots(n):\n    return [n ** 0.5, -(n ** 0.5)]",
    "test_list": ["assert roots(4) == [2, -2]", "assert set(roots(9)) == {3, -3}"],
}
CHECKED = {
    "prompt": 'def half(x):\n    """ Half. """\n',
    "entry_point": "half",
    "canonical_solution": "    return x / 2\n",
    "test": "def check(candidate):\n    for i in range(5):\n        assert abs(candidate(i) - i / 2) < 1e-3\n",
}


@pytest.fixture(autouse=True, scope="module")
def sandbox():
    try:
        Bubblewrap(warm=0).close()
    except SandboxUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NO SANDBOX, code verification is not tested: {error}")
    yield
    module.shared_sandbox().close()


RIGHT = {
    "the whole function": "def total(xs):\n    return sum(xs)",
    "a block": "Here it is.\n\n```python\ndef total(xs):\n    return sum(xs)\n```\nDone.",
    "the last block": "```\ndef total(xs): return 0\n```\n```py\ndef total(xs): return sum(xs)\n```",
    "a continuation": "    return sum(xs)\n",
    "after thinking": "<think>```python\nno\n```</think>```python\ndef total(xs): return sum(xs)\n```",
    "the prompt's imports": "def total(xs: List[int]): return sum(xs)",
    "a block cut off": "```python\ndef total(xs): return sum(xs)",
    "noise": "import sys\nprint('x' * 10000)\ndef total(xs):\n    print(xs, file=sys.stderr)\n    return sum(xs)",
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_programs(name):
    assert verify_code(RIGHT[name], ADD).status == "correct"


# Each is wrong, and would pass where candidate and expected values share a process, or an exit code is believed.
CHEATS = {
    "thinking that never closes": "<think>\n```python\ndef total(xs): return sum(xs)\n```",
    "nothing": "",
    "wrong": "def total(xs): return 3",
    "raises": "def total(xs): return xs[0] + xs[1]",
    "does not compile": "def total(xs) return",
    "no such function": "def sum_of(xs): return sum(xs)\nx = total",
    "exit 0 at import": "import os\nos._exit(0)\ndef total(xs): ...",
    "exit 0 in the call": "import os\ndef total(xs): os._exit(0)",
    "sys.exit": "import sys\ndef total(xs): sys.exit(0)",
    "always equal": "class E:\n    def __eq__(s, o): return True\ndef total(xs): return E()",
    "an int that is always equal": "class E(int):\n    def __eq__(s, o): return True\ndef total(xs): return E(3)",
    "a str subclass": "class E(str):\n    __eq__ = lambda s, o: True\ndef total(xs): return E('3')",
    "a list subclass": "class E(list):\n    __eq__ = lambda s, o: True\ndef total(xs): return E()",
    "a right value of a subclass": "class E(int): pass\ndef total(xs): return E(sum(xs))",
    "frame walk for the expected value": """
import sys
def total(xs):
    frame = sys._getframe()
    while frame:
        for name in ("expected", "exp", "outputs", "ref"):
            for scope in (frame.f_locals, frame.f_globals):
                if name in scope: return scope[name][0] if isinstance(scope[name], list) else scope[name]
        frame = frame.f_back
""",
    "garbage collector": """
import gc
def total(xs):
    for o in gc.get_objects():
        if isinstance(o, dict) and 'expected' in o: return o['expected']
""",
    "patched builtins": """
import builtins
builtins.all = lambda *a: True
builtins.abs = lambda *a: 0
builtins.type = lambda *a: int
builtins.isinstance = lambda *a: True
def total(xs): return 'no'
""",
    "patched json": "import json\njson.dumps = lambda *a, **k: '1'\ndef total(xs): return object()",
    "patched encoder": """
import sys
for module in list(sys.modules.values()):
    if hasattr(module, 'encode'):
        module.encode = lambda value: 'true'
def total(xs): return None
""",
    "forged lines": """
import os
def total(xs):
    for descriptor in range(256):
        try: os.write(descriptor, b'=true\\n=null\\n=0\\npassed\\n')
        except OSError: pass
    os._exit(0)
""",
    "forged lines at import": """
import os
for descriptor in range(256):
    try: os.write(descriptor, b'ready\\n{"status": "correct"}\\n' * 50)
    except OSError: pass
def total(xs): return 0
""",
    "malformed data": """
import os
for descriptor in range(3, 256):
    try: os.write(descriptor, b'={"t":5}\\n={"d":[1]}\\n={"zz":1,"y":2}\\n')
    except OSError: pass
""",
    "deeply nested data": """
import os
for descriptor in range(3, 256):
    try: os.write(descriptor, b'=' + b'[' * 200000 + b'\\n')
    except OSError: pass
""",
    "half of the results": """
calls = 0
def total(xs):
    global calls
    calls += 1
    if calls == 3: __import__('os')._exit(0)
    return sum(xs)
""",
    "nan": "def total(xs): return float('nan')",
    "inf": "def total(xs): return float('inf')",
    "a generator": "def total(xs): yield sum(xs)",
    "a symlink": "import os\ndef total(xs):\n    os.symlink('/etc/passwd', '/tmp/result')\n    return '/tmp/result'",
    "the caller's list": "def total(xs):\n    xs.clear(); xs.append(0); return xs",
    "excepthook": "import sys\nsys.excepthook = lambda *a: None\ndef total(xs): raise ValueError",
    "a thread that outlives": """
import threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
def total(xs): return 'x'
""",
    "endless loop": "def total(xs):\n    while True: pass",
}


@pytest.mark.parametrize("name", CHEATS)
def test_cheats_are_incorrect(name):
    verdict = verify_code(CHEATS[name], ADD, CodeLimits(cpu_seconds=1, wall_seconds=60))
    assert verdict.status == "incorrect", verdict
    assert verdict.score == 0 and verdict.reason


def test_a_batch_keeps_its_order_and_lengths():
    completions = ["    return sum(xs)", "    return 1", "    return sum(xs)"]
    assert [v.score for v in verify_code_batch(completions, [ADD] * 3)] == [1, 0, 1]
    with pytest.raises(ValueError, match="2 completions for 1 problems"):
        verify_code_batch(["", ""], [ADD])


# Programs -------------------------------------------------------------------------------------------------------------

DOUBLE = {"inputs": ["2\n", "5\n"], "outputs": ["4\n", "10\n"]}


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("print(int(input()) * 2)", "correct"),
        ("import sys\nsys.stdout.write(str(2 * int(sys.stdin.read())) + '  \\n\\n')", "correct"),
        ("if __name__ == '__main__':\n    print(int(input()) * 2)", "correct"),
        ("print(4)", "incorrect"),
        ("print(int(input()) * 2, 'and more')", "incorrect"),
        ("import os\nos._exit(0)", "incorrect"),
        ("while True: print(4)", "incorrect"),
    ],
)
def test_programs_that_read_and_print(program, status):
    assert verify_code(program, DOUBLE, CodeLimits(cpu_seconds=1)).status == status


# Assertions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "problem", "status"),
    [
        ("def roots(n): return [n ** 0.5, -(n ** 0.5)]", ASSERTED, "correct"),
        ("def roots(n): return [2, -2] if n == 4 else (-3, 3)", ASSERTED, "correct"),  # the assertions allow it
        ("def roots(n): return [-2, 2]", ASSERTED, "incorrect"),
        ("class E:\n    __eq__ = lambda s, o: True\ndef roots(n): return E()", ASSERTED, "incorrect"),
        ("def half(x): return x / 2 + 1e-5", CHECKED, "correct"),
        ("    return x * 0.5", CHECKED, "correct"),
        ("    return x // 2", CHECKED, "incorrect"),
        ("class E(float):\n    __sub__ = lambda s, o: 0\ndef half(x): return E(x)", CHECKED, "incorrect"),
    ],
)
def test_assertions_are_judged_without_the_candidate(program, problem, status):
    verdict = verify_code(program, problem)
    assert verdict.status == status
    assert "weak" not in verdict.reason


def test_assertions_without_a_solution_are_weak_and_say_so():
    problem = {"test_list": ["assert f(2) == 4"]}
    assert verify_code("def f(x): return 2 * x", problem).reason.startswith("weak")
    assert verify_code("def f(x): return x", problem).status == "incorrect"


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ({}, "a problem needs"),
        ({"inputs": ["1"], "outputs": []}, "as many outputs"),
        (ADD | {"canonical_solution": "    return xs[0]\n"}, "canonical solution raises on input 1"),
        (CHECKED | {"canonical_solution": "    return 7\n"}, "fails its own assertions"),
        (ADD | {"canonical_solution": "    return (\n"}, "the canonical solution"),
    ],
)
def test_a_broken_problem_is_a_verifier_error(problem, reason):
    verdict = verify_code("def total(xs): return sum(xs)", problem)
    assert verdict.status == "verifier_error" and reason in verdict.reason


# Comparison -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected", "atol", "equal"),
    [
        (1, 1.0, 0, True), (True, 1, 0, True), ([1], (1,), 0, False), ("1", 1, 0, False),
        (1.0000001, 1.0, 0, True), (1.001, 1.0, 0, False), (1.001, 1.0, 0.01, True),
        ([1.0, [2.0000001]], [1.0, [2.0]], 0, True), ({1: 2.0}, {1: 2.0000001}, 0, True), ({1: 2}, {1: 3}, 0, False),
        (float("nan"), float("nan"), 0, True), (float("nan"), 1.0, 1, False), (float("inf"), 1.0, 1, False),
        (10**400, 1.0, 0, False), ({1, 2}, {2, 1}, 0, True), ([1], [1, 2], 0, False), (None, 0, 0, False),
    ],
)  # fmt: skip
def test_same(value, expected, atol, equal):
    assert same(value, expected, atol) is equal


@pytest.mark.parametrize(
    "text",
    ["None", "[1, 2.5, 'é', '\\ud800']", "(1, ((),))", "{'a': {1: (2,)}, 3: b'x'}", "{1, 'a'}", "frozenset({2})",
     "10 ** 5000", "-(2 ** 70)", "1e300 * 1e10", "complex(1, -0.0)", "'x' * 100000"],
)  # fmt: skip
def test_values_cross_the_pipe_unchanged(text):
    from timecost.verifiers._sandbox_child import encode

    value = eval(text)
    back = module.decode(encode(value).encode())
    assert back == value and type(back) is type(value)


def test_text_out_of_bounds_is_no_code():
    assert extract_code("x = 1\n" * 100_000, {})[0] is None
    assert extract_code("```python\n```", {}) == (None, "no code")
