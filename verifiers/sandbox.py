"""Sandboxes: where code that nobody has read runs, and from which only data comes back.

A sandbox is one bubblewrap container (https://github.com/containers/bubblewrap) that serves one request of one
candidate and is thrown away. A few are started ahead of need. Started by root, each runs under a user id of its own,
60000 + slot, given up before bubblewrap starts; started by anybody else, under that user's id. Linux only.
"""

import atexit
import contextlib
import errno
import json
import marshal
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

START_SECONDS = 20  # until a started sandbox must have answered
GRACE_SECONDS = 10  # after its own time limit, until a sandbox counts as hung
UID_BASE = 60_000
TMP_BYTES = 64 << 20
TIMED_OUT = 3  # exit code of _sandbox_child
HERE = Path(__file__).parent
MOUNT_POINTS = ("/mnt", "/media", "/srv", "/opt")  # where root shows the interpreter to other users

# System calls that no solution of a problem needs, and that have been ways out of containers.
DENIED = """
acct add_key adjtimex bpf chroot clock_adjtime clock_settime delete_module fanotify_init finit_module fsconfig fsmount
fsopen fspick get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp
kexec_file_load kexec_load keyctl lookup_dcookie mbind migrate_pages modify_ldt mount mount_setattr move_mount
move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree perf_event_open personality pidfd_getfd
pidfd_open pidfd_send_signal pivot_root process_madvise process_vm_readv process_vm_writev ptrace quotactl reboot
request_key set_mempolicy setdomainname sethostname setns settimeofday swapoff swapon syslog umount umount2 unshare
userfaultfd vhangup vmsplice
"""


class SandboxUnavailable(RuntimeError):
    """No sandbox can be started here; the message says in one line why, and what to do."""


class SandboxFailed(RuntimeError):
    """A sandbox ended, hung or never started through no fault of the candidate: nothing is known about it."""


@dataclass(frozen=True)
class CodeLimits:
    """What one candidate may use, all its tests together.

    Attributes:
        cpu_seconds: CPU time of each process, in whole seconds, rounded up. It decides the same on a busy machine.
        wall_seconds: wall-clock time, for what waits instead of working.
        memory_bytes: address space of each process.
        processes: processes and threads at a time.
        file_bytes: size of one file; all files together have 64 MiB.
        output_bytes: what is read of its results.
        open_files: file descriptors of a process.
    """

    cpu_seconds: float = 10.0
    wall_seconds: float = 40.0
    memory_bytes: int = 1 << 30
    processes: int = 32
    file_bytes: int = 16 << 20
    output_bytes: int = 64 << 20
    open_files: int = 64

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not value > 0:
                raise ValueError(f"CodeLimits.{name} must be more than 0, not {value}")


@dataclass
class Outcome:
    """What a sandbox gave back. `ended` is empty, or why there are no more lines: the candidate's own doing."""

    lines: list[bytes] = field(default_factory=list)
    wrong: int | None = None  # the line that `accept` refused, the last one read
    ended: str = ""
    seconds: float = 0.0


class Sandbox(Protocol):
    """What runs a request apart from this process."""

    def run(self, header: dict, payload: bytes, count: int, limits: CodeLimits, accept=None) -> Outcome:
        """Send a request (see `_sandbox_child`) and read `count` lines.

        It reads no further than the first line for which `accept(index, line)` is false. Raises SandboxFailed.
        """

    def close(self) -> None:
        """End everything that was started."""


def interpreter() -> tuple[str, str]:
    """The installation prefix of the running Python, and the path of its executable inside that prefix."""
    prefix = os.path.realpath(sys.base_prefix)
    executable = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    if not executable.startswith(prefix.rstrip("/") + "/"):
        executable = os.path.realpath(f"{prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    if not executable.startswith(prefix.rstrip("/") + "/") or not os.access(executable, os.X_OK):
        raise SandboxUnavailable(
            f"code verification finds no interpreter under {prefix}: install Python {sys.version_info.major}."
            f"{sys.version_info.minor} from a package, with pyenv, uv or conda, and make the environment with it"
        )
    return prefix, os.path.relpath(executable, prefix)


def child_command(python: str) -> list[str]:
    return [python, "-S", "-s", "-P", "-B", "-c", (HERE / "_sandbox_child.py").read_text(encoding="utf-8")]


def bubblewrap_command(prefix: str, executable: str) -> list[str]:
    """The command of a sandbox whose interpreter is installed in `prefix`, without the filter of system calls."""
    command = [
        shutil.which("bwrap") or "bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent",
        "--new-session", "--as-pid-1", "--clearenv", "--cap-drop", "ALL", "--hostname", "sandbox",
        "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/tmp", "--setenv", "LC_ALL", "C.UTF-8",
        "--setenv", "PYTHONHASHSEED", "0", "--setenv", "OMP_NUM_THREADS", "1", "--ro-bind", "/usr", "/usr",
    ]  # fmt: skip
    for name in ("/bin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(name):
            command += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            command += ["--ro-bind", name, name]
    command += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for name in ("null", "zero", "random", "urandom"):
        command += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    if prefix == "/usr":
        python = f"/usr/{executable}"
    else:
        python = f"/python/{executable}"
        command += ["--ro-bind", prefix, "/python", "--setenv", "LD_LIBRARY_PATH", "/python/lib"]
    command += ["--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp", "--"]
    return command + child_command(python)


def seccomp_filter() -> bytes:
    """The filter of system calls, as a program for the kernel. Raises SandboxUnavailable without pyseccomp."""
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError) as error:
        missing = "libseccomp2" if not isinstance(error, ImportError) else "pyseccomp"
        how = "apt install libseccomp2" if missing == "libseccomp2" else "pip install pyseccomp"
        raise SandboxUnavailable(f"code verification needs {missing}, which is not installed: {how}") from error
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    refuse = seccomp.ERRNO(errno.EPERM)
    for name in DENIED.split():
        with contextlib.suppress(RuntimeError, ValueError, OSError):  # this processor or library does not know it
            rules.add_rule(refuse, name)
    # glibc falls back to clone, whose flags can be read; flags of new namespaces, any of them
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    for flag in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        rules.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
    rules.add_rule(refuse, "ioctl", seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, 0x5412))  # TIOCSTI
    rules.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket", seccomp.Arg(0, seccomp.GT, socket.AF_UNIX))
    descriptor = os.memfd_create("seccomp")
    with os.fdopen(descriptor, "w+b", buffering=0) as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


class Bubblewrap:
    """Sandboxes by bubblewrap, `warm` of them started ahead of need. Safe to use from several threads.

    With `unsafe_no_sandbox=True` there is no bubblewrap: plain processes with the user's own rights, the same limits
    except that on the number of processes. For machines where nothing else runs and code that may do anything there.

    Raises SandboxUnavailable when no sandbox can be started: bubblewrap or pyseccomp is not installed, namespaces are
    refused, or something else, in one line.
    """

    def __init__(self, warm: int = 2, unsafe_no_sandbox: bool = False):
        self.sandboxed, self._warm = not unsafe_no_sandbox, warm
        self._lock, self._ready, self._slots, self._launcher = threading.RLock(), [], set(), None
        prefix, executable = interpreter()
        uid_base = bind = None
        filter_ = b""
        if unsafe_no_sandbox:
            command = child_command(f"{prefix}/{executable}")
        else:
            if not sys.platform.startswith("linux"):
                raise SandboxUnavailable("code verification needs Linux, for bubblewrap")
            if not shutil.which("bwrap"):
                raise SandboxUnavailable(
                    "code verification needs bubblewrap, which is not installed: apt install bubblewrap "
                    "(or dnf, pacman, apk: the package has the same name)"
                )
            filter_ = seccomp_filter()
            shown = prefix
            if os.geteuid() == 0:
                uid_base = UID_BASE
                if not _reachable(prefix):
                    shown = next(path for path in (*MOUNT_POINTS, "/") if os.path.isdir(path))
                    bind = [prefix, shown]
            command = bubblewrap_command(shown, executable)
        self._setup = {"command": command, "seccomp": filter_.hex(), "uid_base": uid_base, "bind": bind}
        try:
            self._probe()
        except BaseException:
            self.close()
            raise

    def _probe(self) -> None:
        """One sandbox to its end, so that what is wrong with this machine is known now."""
        try:
            outcome = self.run({"mode": "call", "sources": ["def f(): return 1"]}, _call("f"), 1, CodeLimits())
        except SandboxFailed as error:
            raise SandboxUnavailable(_explain(str(error))) from error
        if outcome.lines != [b"=1"]:
            raise SandboxUnavailable(f"code verification: a sandbox cannot compute 1: {outcome}")

    def run(self, header: dict, payload: bytes, count: int, limits: CodeLimits, accept=None) -> Outcome:
        """See `Sandbox.run`."""
        header = header | {"payload": len(payload), "limits": asdict(limits) | {"sandboxed": self.sandboxed}}
        encoded = json.dumps(header).encode()
        slot = self._take()
        wait = 0.0
        try:
            slot.expect_ready()
            slot.send(len(encoded).to_bytes(8, "big") + encoded + payload)
            outcome, wait = slot.receive(count, limits, accept)
        finally:
            code = self._discard(slot, wait)
        if outcome.ended == "":
            return outcome
        if outcome.ended == "hung":
            raise SandboxFailed("the sandbox hung")
        if outcome.ended == "eof":
            if code == TIMED_OUT:
                outcome.ended = f"out of time ({limits.cpu_seconds:g} s of CPU, {limits.wall_seconds:g} s in all)"
            elif code == 0 or not self.sandboxed:
                outcome.ended = "ended before its results"
            else:  # the first process cannot be killed from inside
                raise SandboxFailed(f"the sandbox was killed (code {code})")
        return outcome

    def close(self) -> None:
        """End everything that was started. It starts again when it is used again."""
        with self._lock:
            launcher, self._launcher = self._launcher, None
            slots, self._ready, self._slots = self._ready, [], set()
            if launcher is None:
                return
            for slot in slots:
                slot.close()
            launcher.close()

    def _take(self) -> "_Slot":
        with self._lock:
            if self._launcher is None or not self._launcher.alive():
                self.close()
                self._launcher = _Launcher(self._setup)
            slot = self._ready.pop(0) if self._ready else self._start()
            while len(self._ready) < self._warm:
                self._ready.append(self._start())
            return slot

    def _start(self) -> "_Slot":
        number = next(i for i in range(1 << 16) if i not in self._slots)
        slot = _Slot(number, self._launcher)
        self._slots.add(number)
        return slot

    def _discard(self, slot: "_Slot", wait: float) -> int | None:
        slot.close()
        try:
            return slot.launcher.ask({"stop": slot.number, "wait": wait})["returncode"]
        except SandboxFailed:
            return -1
        finally:
            with self._lock:
                if slot.launcher is self._launcher:
                    self._slots.discard(slot.number)

    def after_fork(self) -> None:
        """In a child process: leave the launcher to the parent."""
        self._lock = threading.RLock()
        launcher, slots = self._launcher, self._ready
        self._launcher, self._ready, self._slots = None, [], set()
        if launcher is not None:
            for slot in slots:
                slot.close()
            launcher.leave()


def _call(name: str, *args) -> bytes:
    return marshal.dumps([(name, args, {})])


def _reachable(path: str) -> bool:
    """Whether any user may enter a folder."""
    return all(os.stat(folder).st_mode & 0o005 == 0o005 for folder in (path, *map(str, Path(path).parents)))


def _explain(error: str) -> str:
    """One line for a person whose machine cannot start a sandbox."""
    error = " ".join(error.split())[:300]
    if any(text in error for text in ("namespace", "uid map", "Operation not permitted", "Permission denied")):
        return (
            f"code verification: bubblewrap is installed, but this machine refuses it namespaces ({error}): allow "
            "unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, on Ubuntu also "
            "kernel.apparmor_restrict_unprivileged_userns=0; in a container, a seccomp profile that permits unshare)"
        )
    return f"code verification: no sandbox starts here: {error}"


class _Launcher:
    """This process's end of `_sandbox_launcher`."""

    def __init__(self, setup: dict):
        self.lock = threading.Lock()
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", str(HERE / "_sandbox_launcher.py")],
                stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self.socket.settimeout(60)
        error = self.ask({"setup": setup})["error"]
        if error:
            self.close()
            raise SandboxFailed(error)

    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, request: dict, descriptors: tuple[int, ...] = ()) -> dict:
        with self.lock:
            try:
                socket.send_fds(self.socket, [json.dumps(request).encode()], descriptors)
                reply = self.socket.recv(1 << 16)
            except OSError as error:
                self.process.kill()  # its next reply could belong to this request
                raise SandboxFailed(f"the launcher of sandboxes is gone: {error}") from error
        if not reply:
            raise SandboxFailed("the launcher of sandboxes is gone")
        return json.loads(reply)

    def close(self) -> None:
        self.socket.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def leave(self) -> None:
        self.socket.close()
        self.process.returncode = 0  # not a child of this process: nothing to wait for


class _Slot:
    """A started sandbox and the pipes to it."""

    def __init__(self, number: int, launcher: _Launcher):
        self.number, self.launcher, self.buffer = number, launcher, b""
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        try:
            error = launcher.ask({"start": number}, (stdin, stdout, stderr))["error"]
        except SandboxFailed as failed:
            error = str(failed)
        finally:
            for descriptor in (stdin, stdout, stderr):
                os.close(descriptor)
        if error:
            self.close()
            raise SandboxFailed(error)
        os.set_blocking(self.stdin, False)
        os.set_blocking(self.stderr, False)

    def expect_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.buffer.startswith(b"ready\n"):
            chunk = self._read(deadline)
            if chunk is None:
                raise SandboxFailed(f"the sandbox did not start in {START_SECONDS} s")
            if not chunk:
                try:
                    said = os.read(self.stderr, 2000).decode(errors="replace")
                except BlockingIOError:
                    said = ""
                raise SandboxFailed(said.strip() or "the sandbox ended at its start")
            self.buffer += chunk
        self.buffer = self.buffer[len(b"ready\n") :]

    def send(self, data: bytes) -> None:
        deadline, view = time.monotonic() + START_SECONDS, memoryview(data)
        poll = select.poll()
        poll.register(self.stdin, select.POLLOUT)
        while view:
            if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
                raise SandboxFailed("the sandbox does not read its request")
            try:
                view = view[os.write(self.stdin, view) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise SandboxFailed(f"the sandbox is gone: {error}") from error

    def receive(self, count: int, limits: CodeLimits, accept) -> tuple[Outcome, float]:
        """The outcome, and the seconds to wait for the sandbox to end by itself."""
        start = time.monotonic()
        deadline = start + limits.wall_seconds + GRACE_SECONDS
        outcome, partial, size, wait = Outcome(), [], 0, 0.0
        chunk = self.buffer or self._read(deadline)
        while chunk:
            size += len(chunk)
            if size > limits.output_bytes:
                outcome.ended = f"more than {limits.output_bytes} bytes of results"
                break
            *complete, rest = chunk.split(b"\n")
            if complete:
                complete[0] = b"".join([*partial, complete[0]])
                partial = []
            partial.append(rest)
            for line in complete[: count - len(outcome.lines)]:
                outcome.lines.append(line)
                if accept is not None and not accept(len(outcome.lines) - 1, line):
                    outcome.wrong = len(outcome.lines) - 1
                    break
            if outcome.wrong is not None or len(outcome.lines) == count:
                break
            chunk = self._read(deadline)
        if not chunk:
            outcome.ended, wait = ("hung", 0.0) if chunk is None else ("eof", 2.0)
        outcome.seconds = time.monotonic() - start
        return outcome, wait

    def _read(self, deadline: float) -> bytes | None:
        """What there is to read, b"" at the end, None when nothing came until the deadline."""
        poll = select.poll()
        poll.register(self.stdout, select.POLLIN)
        if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
            return None
        return os.read(self.stdout, 1 << 20)

    def close(self) -> None:
        for name in ("stdin", "stdout", "stderr"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                os.close(descriptor)
                setattr(self, name, -1)


_shared: dict[bool, Bubblewrap] = {}
_shared_lock = threading.Lock()


def shared_sandbox(unsafe_no_sandbox: bool = False) -> Bubblewrap:
    """The sandboxes of this process, made on first use. Raises SandboxUnavailable."""
    with _shared_lock:
        if unsafe_no_sandbox not in _shared:
            _shared[unsafe_no_sandbox] = Bubblewrap(max(2, os.cpu_count() or 1), unsafe_no_sandbox)
        return _shared[unsafe_no_sandbox]


def close_shared() -> None:
    """End the sandboxes of this process; they start again when needed."""
    for sandbox in _shared.values():
        sandbox.close()


def _after_fork() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()
    for sandbox in _shared.values():
        sandbox.after_fork()


atexit.register(close_shared)
os.register_at_fork(after_in_child=_after_fork)
