"""The sandbox: what hostile code tries, and what is left after it. Each attack runs in a real sandbox."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from timecost.verifiers import sandbox as module
from timecost.verifiers.code import verify_code, verify_code_batch
from timecost.verifiers.sandbox import Bubblewrap, CodeLimits, SandboxFailed, SandboxUnavailable, _call

LIMITS = CodeLimits(cpu_seconds=3, wall_seconds=30)
CANARY = Path("/tmp/timecost_sandbox_canary")


@pytest.fixture(scope="module")
def sandbox():
    try:
        sandbox = Bubblewrap(warm=1)
    except SandboxUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NO SANDBOX, code verification is not tested: {error}")
    yield sandbox
    sandbox.close()


def run(sandbox, body: str, limits: CodeLimits = LIMITS):
    """What `f` gives, whose body is indented by four spaces; `attempt` gives the name of the exception of a call."""
    source = f"""
import os, sys
def attempt(function, *args):
    try:
        function(*args)
    except BaseException as error:
        return getattr(error, "errno", None) or type(error).__name__
    return "done"
def f():
{body}
"""
    return sandbox.run({"mode": "call", "sources": [source]}, _call("f"), 1, limits)


# body -> what comes back when it is contained: a line, or why there is none
ATTACKS = {
    "fork bomb": ("""
    count = 0
    try:
        while count < 500:
            if os.fork() == 0:
                import time; time.sleep(60); os._exit(0)
            count += 1
    except OSError:
        return count <= 32
    return False""", "=true"),
    "memory bomb": ("    return attempt(bytearray, 8 << 30)", '="MemoryError"'),
    "disk fill, one file": ("""
    import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    def fill():
        with open("/tmp/big", "wb", 0) as file:
            while True:
                file.write(bytes(1 << 20))
    return attempt(fill)""", "=27"),
    "disk fill, many files": ("""
    def fill():
        for i in range(200):
            with open(f"/tmp/big{i}", "wb", 0) as file:
                for _ in range(15):
                    file.write(bytes(1 << 20))
    return attempt(fill)""", "=28"),
    "endless loop": ("    while True: pass", "out of time"),
    "network": ("    import socket; return attempt(socket.socket)", "=97"),
    "vsock": ("    import socket; return attempt(socket.socket, 40, socket.SOCK_STREAM)", "=97"),
    "reading /etc/passwd": ("    return attempt(open, '/etc/passwd')", "=2"),
    "reading /proc": ("    return [attempt(open, '/proc/self/maps'), attempt(os.listdir, '/proc')]", "=[2,2]"),
    "home folders": ("    return [attempt(os.listdir, '/root'), attempt(os.listdir, '/home')]", "=[2,2]"),
    "environment": ("    return 'TIMECOST_SECRET' in os.environ or len(os.environ) > 10", "=false"),
    "writing outside": (f"""
    return [attempt(open, path, "w") for path in ("/x", "/usr/x", "/dev/x", "/etc/x", sys.prefix + "/x")] + [
        attempt(open, "{CANARY}", "w")]""", '=[30,30,30,30,30,"done"]'),
    "killing the parent": ("""
    import signal
    return [attempt(os.kill, 1, signal.SIGKILL), attempt(os.kill, os.getppid(), signal.SIGSTOP), os.getppid()]""",
        '=["done","done",1]'),
    "ptrace": ("""
    import ctypes; libc = ctypes.CDLL(None, use_errno=True)
    return [libc.ptrace(16, 1, 0, 0), ctypes.get_errno()]""", "=[-1,1]"),
    "namespaces": ("""
    import ctypes; libc = ctypes.CDLL(None, use_errno=True)
    return [libc.unshare(0x10000000), ctypes.get_errno()]""", "=[-1,1]"),
    "io_uring, keyctl, bpf, userfaultfd": ("""
    import ctypes, platform; libc = ctypes.CDLL(None, use_errno=True)
    numbers = {"x86_64": (425, 250, 321, 323)}.get(platform.machine(), (425, 219, 280, 282))
    return [(libc.syscall(number, 0, 0, 0), ctypes.get_errno())[1] for number in numbers]""", "=[1,1,1,1]"),
    "mount": ("""
    import ctypes; libc = ctypes.CDLL(None, use_errno=True)
    return [libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), ctypes.get_errno()]""", "=[-1,1]"),
    "becoming root": ("    return [attempt(os.setuid, 0), os.getuid() == 0]", "=[22,false]"),
    "raising limits": ("""
    import resource
    return attempt(resource.setrlimit, resource.RLIMIT_AS, (-1, -1))""", '="ValueError"'),
    "stdout flood": ("""
    for descriptor in range(1, 20):
        try:
            for _ in range(2000): os.write(descriptor, bytes(1 << 16))
        except OSError:
            pass""", "bytes of results"),
    "leaving early": ("    os._exit(0)", "ended before its results"),
    "a daemon that holds the pipe": ("""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            import time; time.sleep(600)
        os._exit(0)
    os._exit(0)""", "ended before its results"),
    "a daemon beside a result": ("""
    if os.fork() == 0:
        os.setsid(); import time; time.sleep(600)
    return 7""", "=7"),
    "a symlink": (f"    os.symlink('{CANARY}', '/tmp/result'); return os.path.exists('/tmp/result')", "=false"),
    "deep recursion": ("    def g(): return g()\n    return attempt(g)", '="RecursionError"'),
    "a crash": ("    import ctypes; ctypes.string_at(0)", "ended before its results"),
    "no CPU limit by children": ("""
    import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while True: pass""", "ended before its results"),
    "waiting": ("    import time; time.sleep(600)", "out of time"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_contained(sandbox, name, monkeypatch):
    monkeypatch.setenv("TIMECOST_SECRET", "1")
    body, expected = ATTACKS[name]
    limits = CodeLimits(cpu_seconds=1, wall_seconds=3 if name == "waiting" else 30, output_bytes=1 << 22)
    outcome = run(sandbox, body, limits)
    if expected[0] == "=":
        assert outcome.lines == [expected.encode()], outcome
    else:
        assert expected in outcome.ended, outcome
    assert not CANARY.exists()
    assert run(sandbox, "    return 1").lines == [b"=1"]  # the next one does not notice


def test_nothing_is_left(sandbox):
    def sandboxes():
        return {p.pid for p in psutil.process_iter(["name"]) if p.info["name"] == "bwrap" and p.ppid() == launcher}

    def zombies():
        return {p.pid for p in psutil.process_iter(["status"]) if p.info["status"] == psutil.STATUS_ZOMBIE}

    run(sandbox, "    return 1")
    launcher, files, old = sandbox._launcher.process.pid, set(os.listdir("/tmp")), zombies()
    descriptors = len(os.listdir("/proc/self/fd"))
    for name in ("fork bomb", "a daemon that holds the pipe", "leaving early"):
        run(sandbox, ATTACKS[name][0])
    assert len(os.listdir("/proc/self/fd")) == descriptors
    own = [p for p in psutil.Process(launcher).children(recursive=True)]
    assert all(p.status() != psutil.STATUS_ZOMBIE for p in own)
    assert len(sandboxes()) == 1  # the warm one
    sandbox.close()
    assert not psutil.pid_exists(launcher)
    deadline = time.monotonic() + 20
    while any(p.is_running() for p in own) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(p.is_running() for p in own)
    assert not {pid for pid in zombies() - old if psutil.pid_exists(pid) and psutil.Process(pid).name() == "bwrap"}
    assert {name for name in set(os.listdir("/tmp")) - files if "bwrap" in name or "canary" in name} == set()


def test_two_candidates_share_nothing(sandbox):
    assert run(sandbox, "    open('/tmp/note', 'w').write('x'); sys.modules['os'].note = 1; return 1").lines == [b"=1"]
    assert run(sandbox, "    return os.path.exists('/tmp/note') or hasattr(os, 'note')").lines == [b"=false"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up rights")
def test_root_gives_its_rights_up_before_anything_starts(sandbox):
    run(sandbox, "    return 1")
    children = psutil.Process(sandbox._launcher.process.pid).children()
    assert children and all(min(child.uids()) >= module.UID_BASE for child in children)
    (line,) = run(sandbox, "    return os.getuid()").lines
    assert int(line[1:]) >= module.UID_BASE


def kill_while_running(sandbox, number: int):
    """Send a signal to the first process of a sandbox that is computing."""
    import threading

    def kill():
        hit, deadline = False, time.monotonic() + 6
        while not hit and time.monotonic() < deadline:
            time.sleep(0.2)
            for process in psutil.Process(sandbox._launcher.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if process.name() != "bwrap" and process.children():  # the first process, which has a runner
                        process.send_signal(number)
                        hit = True

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        return run(sandbox, "    import time; time.sleep(20)", CodeLimits(cpu_seconds=20, wall_seconds=6))
    finally:
        thread.join()


def test_a_sandbox_killed_from_outside_is_no_wrong_answer(sandbox):
    with pytest.raises(SandboxFailed, match="killed"):
        kill_while_running(sandbox, signal.SIGKILL)
    assert run(sandbox, "    return 1").lines == [b"=1"]


def test_a_sandbox_that_hangs_is_no_wrong_answer(sandbox, monkeypatch):
    monkeypatch.setattr(module, "GRACE_SECONDS", 1)
    with pytest.raises(SandboxFailed, match="hung"):
        kill_while_running(sandbox, signal.SIGSTOP)


def test_a_launcher_that_was_killed_is_started_again(sandbox):
    run(sandbox, "    return 1")
    sandbox._launcher.process.kill()
    sandbox._launcher.process.wait()
    assert run(sandbox, "    return 1").lines == [b"=1"]


def test_one_failure_leaves_the_others_of_a_batch(sandbox, monkeypatch):
    real = Bubblewrap.run

    def failing(self, header, *args):
        if "BREAK" in header["sources"][-1]:
            raise SandboxFailed("the sandbox was killed")
        return real(self, header, *args)

    monkeypatch.setattr(Bubblewrap, "run", failing)
    problem = {"inputs": ["1"], "outputs": ["1"]}
    verdicts = verify_code_batch(["print(1)", "BREAK", "print(2)"], [problem] * 3)
    assert [verdict.status for verdict in verdicts] == ["correct", "verifier_error", "incorrect"]


# Where there is no sandbox --------------------------------------------------------------------------------------------


def test_without_bubblewrap_the_error_names_the_package(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(SandboxUnavailable, match="not installed: apt install bubblewrap"):
        Bubblewrap()


def test_without_pyseccomp_the_error_names_the_package(sandbox, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    with pytest.raises(SandboxUnavailable, match="pip install pyseccomp"):
        Bubblewrap()


@pytest.mark.parametrize(
    ("says", "reason"),
    [("No permissions to creating new namespace", "refuses it namespaces"), ("unknown option", "no sandbox starts")],
)
def test_a_bubblewrap_that_does_not_start_says_why(sandbox, monkeypatch, tmp_path, says, reason):
    fake = tmp_path / "bwrap"
    fake.write_text(f"#!/bin/sh\necho bwrap: {says} >&2\nexit 1\n")
    fake.chmod(0o755)
    for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
        folder.chmod(0o755)
    monkeypatch.setattr(module.shutil, "which", lambda name: str(fake))
    with pytest.raises(SandboxUnavailable, match=f"{reason}.*{says}") as caught:
        Bubblewrap()
    assert "\n" not in str(caught.value)


def test_no_sandbox_is_never_a_silent_default(monkeypatch):
    monkeypatch.setattr(module, "_shared", {})
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    problem = {"inputs": ["1"], "outputs": ["1"]}
    with pytest.raises(SandboxUnavailable):
        verify_code("print(1)", problem)
    assert verify_code("print(1)", problem, unsafe_no_sandbox=True).status == "correct"
    assert verify_code("import os; os._exit(0)", problem, unsafe_no_sandbox=True).status == "incorrect"
    module.close_shared()


ORDINARY_USER = """
import os, sys
os.setgroups([]); os.setgid(61234); os.setuid(61234)
sys.path.insert(0, sys.argv[1])
import importlib.util
start = sys.argv[1] + "/__init__.py"
spec = importlib.util.spec_from_file_location("v", start, submodule_search_locations=[sys.argv[1]])
package = importlib.util.module_from_spec(spec); sys.modules["v"] = package; spec.loader.exec_module(package)
from v.code import verify_code
from v.sandbox import close_shared
problem = {"inputs": ["1"], "outputs": ["1"]}
twice = "import os; child = os.fork(); child and os.waitpid(child, 0); print(1)"
for program in ("print(1)", "print(2)", "import os; print(len(os.listdir('/proc')))", twice):
    print(verify_code(program, problem).status)
close_shared()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_an_ordinary_user(sandbox, tmp_path):
    import shutil

    import pyseccomp

    folder = Path("/tmp") / f"timecost_ordinary_{os.getpid()}"
    try:
        shutil.copytree(Path(module.__file__).parent, folder / "v", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(pyseccomp.__file__, folder / "v")
        folder.chmod(0o755)
        python = next((p for p in ("/usr/bin/python3.13", "/usr/bin/python3.12", "/usr/bin/python3.11") if
                       os.path.exists(p)), None)  # fmt: skip
        python = python or os.path.realpath(sys.executable)
        done = subprocess.run(
            [python, "-c", ORDINARY_USER, str(folder / "v")], capture_output=True, text=True, timeout=200, cwd="/"
        )
    finally:
        shutil.rmtree(folder)
    assert done.stdout.split() == ["correct", "incorrect", "incorrect", "incorrect"], done.stderr
