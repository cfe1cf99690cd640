"""The process that starts and ends sandboxes, for one process that uses them. Standard library only, one thread.

It is apart because bubblewrap ends with the thread that started it, because starting a process from one that holds a
model is slow, and because, as root, it takes a mount namespace of its own, where the interpreter has a path that an
unprivileged user can reach. It ends with its socket, standard input, and everything that it started ends with it.

    {"setup": {...}}                  -> {"error": null or text}
    {"start": slot}, three pipes      -> {"error": null or text}
    {"stop": slot, "wait": seconds}   -> {"returncode": null when it had to be ended}
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import subprocess

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE, PR_SET_CHILD_SUBREAPER = 0x20000, 0x1000, 0x4000, 0x40000, 36


def bind_privately(source: str, target: str) -> str | None:
    """Mount `source` on `target` where only this process and its children see it; what went wrong, or None."""
    libc = ctypes.CDLL(None, use_errno=True)
    for function, arguments in (
        (libc.unshare, (CLONE_NEWNS,)),
        (libc.mount, (b"none", b"/", None, MS_REC | MS_PRIVATE, None)),
        (libc.mount, (source.encode(), target.encode(), None, MS_BIND | MS_REC, None)),
    ):
        if function(*arguments) != 0:
            return f"cannot bind {source}: {os.strerror(ctypes.get_errno())}"
    return None


class Launcher:
    def __init__(self):
        self.processes = {}

    def setup(self, command: list[str], seccomp: str, uid_base: int | None, bind: list[str] | None) -> dict:
        self.command, self.seccomp, self.uid_base = command, bytes.fromhex(seccomp), uid_base
        return {"error": bind_privately(*bind) if bind else None}

    def start(self, slot: int, descriptors: list[int]) -> dict:
        stdin, stdout, stderr = descriptors
        owned, info = list(descriptors), None
        command, options = self.command, {}
        try:
            if self.seccomp:
                filter_ = os.memfd_create("seccomp")
                owned.append(filter_)
                os.write(filter_, self.seccomp)
                os.lseek(filter_, 0, os.SEEK_SET)
                info, writer = os.pipe()
                owned.append(writer)
                command = [command[0], "--seccomp", str(filter_), "--info-fd", str(writer), *command[1:]]
                options["pass_fds"] = (filter_, writer)
            if self.uid_base is not None:
                uid = self.uid_base + slot
                options |= {"user": uid, "group": uid, "extra_groups": []}
            process = subprocess.Popen(
                command, stdin=stdin, stdout=stdout, stderr=stderr, cwd="/", env={}, start_new_session=True, **options
            )
        except (OSError, ValueError) as error:
            if info is not None:
                os.close(info)
            return {"error": str(error)}
        finally:
            for descriptor in owned:
                os.close(descriptor)
        self.processes[slot] = process, info
        return {"error": None}

    def stop(self, slot: int, wait: float = 0) -> dict:
        """End what was started in a slot, all of it, and wait until it is gone; `wait` is the time to end by itself."""
        process, info = self.processes.pop(slot)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait)
        ended = process.returncode is not None
        inner = None
        if info is not None:
            with contextlib.suppress(ValueError, KeyError):
                inner = json.loads(os.read(info, 4096) or b"{}")["child-pid"]  # there before the sandbox starts
            os.close(info)
        if not ended:
            if inner is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            else:  # with the first process of its namespace all others end, and bubblewrap then ends by itself
                with contextlib.suppress(ProcessLookupError):
                    os.kill(inner, signal.SIGKILL)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        elif inner is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        known = {other.pid for other, _ in self.processes.values()}
        self.reap(known)
        return {"returncode": process.returncode if ended else None}

    def reap(self, known: set[int]) -> None:
        """Collect orphans; a child of `known` is collected by its own `stop`."""
        for _ in range(100):
            with contextlib.suppress(ChildProcessError):
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found and found.si_pid not in known:
                    os.waitpid(found.si_pid, 0)
                    continue
            return


def main() -> None:
    connection = socket.socket(fileno=os.dup(0))
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C is for the process that uses this one, and its end ends this
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    launcher = Launcher()
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        except OSError:
            break
        if not message:
            break
        request = json.loads(message)
        if "setup" in request:
            reply = launcher.setup(**request["setup"])
        elif "start" in request:
            reply = launcher.start(request["start"], descriptors)
        else:
            reply = launcher.stop(request["stop"], request["wait"])
        try:
            connection.send(json.dumps(reply).encode())
        except OSError:
            break
    for slot in list(launcher.processes):
        launcher.stop(slot)


if __name__ == "__main__":
    main()
