"""The program inside a sandbox: runs one candidate on inputs and writes back what it returned, as data.

It is the first process of its own PID namespace, which nothing inside can kill, stop or trace. It reads one request,
forks a runner for the candidate, and exits with 0 when the runner ended, or TIMED_OUT when its time was up; with its
end the kernel ends every process of the namespace. It never learns an expected value, except in the modes `record`
and `judge`, which run trusted code alone.

    request     8 bytes of length, JSON header, marshal of the inputs
    reply       "ready", then one line a result: "=" and the value, or "!" and the exception, as JSON

Values of the exact builtin types are written in a form in which equal bytes are equal values; anything else, subclasses
included, is `{"x": type}`, which equals nothing. `timecost.verifiers.code.decode` reads them.
"""

import hashlib
import json
import marshal
import math
import os
import resource
import signal
import sys
import types

TIMED_OUT = 3
_dumps = json.JSONEncoder(separators=(",", ":")).encode
_PLAIN = {str, bool, type(None)}
_SMALL = 1 << 63
LONG_TEXT = 1 << 16  # characters, from which a digest is sent for a text where equality is all that counts
digests = False


def encode(value) -> str:
    """The canonical form of a value. RecursionError where it is nested too deeply."""
    kind = type(value)
    if kind is int:
        return str(value) if -_SMALL < value < _SMALL else f'{{"i":"{value:x}"}}'
    if digests and kind is str and len(value) > LONG_TEXT:
        return f'{{"h":"{hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()}"}}'
    if kind in _PLAIN:
        return _dumps(value)
    if kind is float:
        return repr(value) if value - value == 0 else f'{{"f":"{value!r}"}}'
    if kind is list:
        types_of = set(map(type, value))
        if types_of <= _PLAIN and not digests or types_of == {int} and min(value) > -_SMALL and max(value) < _SMALL:
            return _dumps(value)
        return f"[{','.join(map(encode, value))}]"
    if kind is tuple:
        return f'{{"t":[{",".join(map(encode, value))}]}}'
    if kind is dict:
        return f'{{"d":[{",".join(f"[{encode(key)},{encode(item)}]" for key, item in value.items())}]}}'
    if kind is set or kind is frozenset:
        return f'{{"{"s" if kind is set else "z"}":[{",".join(sorted(map(encode, value)))}]}}'
    if kind is bytes:
        return f'{{"b":"{value.hex()}"}}'
    if kind is complex:
        return f'{{"c":["{value.real!r}","{value.imag!r}"]}}'
    return f'{{"x":{_dumps(str(kind.__name__)[:80])}}}'


def line_of(function, *args, **kwargs) -> str:
    """What a call returns, or the exception that it raises, as a line of the reply."""
    try:
        return f"={encode(function(*args, **kwargs))}\n"
    except BaseException as error:
        try:
            return f"!{_dumps(f'{type(error).__name__}: {error}'[:200])}\n"
        except BaseException:
            return '!"an exception without a text"\n'


def write(descriptor: int, text: str) -> None:
    data = memoryview(text.encode())
    while data:
        data = data[os.write(descriptor, data) :]


def module(name: str) -> dict:
    """The namespace of a fresh module, which classes defined in it can find."""
    sys.modules[name] = types.ModuleType(name)
    return sys.modules[name].__dict__


def define(sources: list[str], name: str = "solution") -> dict:
    namespace = module(name)
    for source in sources:
        exec(compile(source, f"<{name}>", "exec", dont_inherit=True), namespace)
    return namespace


# In the runner --------------------------------------------------------------------------------------------------------


def call(header: dict, calls: list, out: int) -> None:
    """One line for each (name, args, kwargs)."""
    global digests
    digests = header.get("digests", False)
    try:
        namespace = define(header["sources"])
        functions = {name: namespace[name] for name, _, _ in calls}
    except BaseException as error:
        return write(out, line_of(raiser(error)))
    lines, size = [], 0
    for name, args, kwargs in calls:
        lines.append(line_of(functions[name], *args, **kwargs))
        size += len(lines[-1])
        if size > 1 << 16:
            write(out, "".join(lines))
            lines, size = [], 0
    write(out, "".join(lines))


def raiser(error: BaseException):
    def function():
        raise error

    return function


def record(header: dict, _, out: int) -> None:
    """The calls that assertions make, with their inputs as they are when the call starts, then what each returned."""
    import random

    inputs, returned = [], []
    inside = False

    def recorder(name, function):
        def recording(*args, **kwargs):
            nonlocal inside
            if inside:  # a call of its own: the assertions do not see it
                return function(*args, **kwargs)
            inputs.append(encode((name, args, kwargs)))
            inside = True
            try:
                value = function(*args, **kwargs)
            finally:
                inside = False
            returned.append(encode(value))
            return value

        return recording

    def run():
        random.seed(0)
        namespace = define(header["sources"])
        for name in header["names"]:
            namespace[name] = recorder(name, namespace[name])
        exec(compile(header["test"], "<test>", "exec", dont_inherit=True), namespace)

    write(out, line_of(run))
    write(out, "".join(f"={text}\n" for text in inputs + returned))


def judge(header: dict, results: list, out: int) -> None:
    """Whether assertions hold when the functions return these results, in this order."""
    import random

    replies = iter(results)

    def run():
        random.seed(0)
        namespace = define(header["sources"])
        for name in header["names"]:
            namespace[name] = lambda *args, **kwargs: next(replies)
        exec(compile(header["test"], "<test>", "exec", dont_inherit=True), namespace)

    write(out, line_of(run))


MODES = {"call": call, "record": record, "judge": judge}


# The first process ----------------------------------------------------------------------------------------------------


def limit(limits: dict) -> None:
    seconds = math.ceil(limits["cpu_seconds"])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits["open_files"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, 8 << 20))
    if limits["sandboxed"]:  # outside, the processes of the user would count
        resource.setrlimit(resource.RLIMIT_NPROC, (limits["processes"],) * 2)


class TimeOutError(Exception):
    pass


def on_alarm(number, frame):
    raise TimeOutError


def supervise(runner, sandboxed: bool) -> None:
    """Fork, call `runner` there, wait for its end, and leave no process behind."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            runner()
        finally:
            os._exit(0)
    try:
        ended, status = os.waitpid(-1, 0)
        while ended != pid:
            ended, status = os.waitpid(-1, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
            raise TimeOutError
    finally:
        if sandboxed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            kill_all()


def kill_all() -> None:
    """End every other process of this PID namespace."""
    if os.getpid() != 1:
        return
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            os.waitpid(-1, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def run_function(header: dict, payload, out: int) -> None:
    def runner():
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.close(null)
        limit(header["limits"])
        MODES[header["mode"]](header, payload, out)

    supervise(runner, header["limits"]["sandboxed"])


def run_programs(header: dict, inputs: list[str], out: int) -> None:
    """One runner for each standard input; the line is what it printed, whatever its exit code."""
    limits = header["limits"]
    for text in inputs:
        stdin, stdout = os.memfd_create("stdin"), os.memfd_create("stdout")
        write(stdin, text)
        os.lseek(stdin, 0, os.SEEK_SET)

        def runner(stdin=stdin, stdout=stdout):
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(stdin, 0)
            os.dup2(stdout, 1)
            os.dup2(null, 2)
            os.closerange(3, 256)
            limit(limits)
            line_of(define, header["sources"], "__main__")
            sys.stdout.flush()

        supervise(runner, limits["sandboxed"])
        size = os.fstat(stdout).st_size
        if size > limits["output_bytes"]:
            line = '!"too much output"\n'
        else:
            line = f"={_dumps(os.pread(stdout, size, 0).decode(errors='replace'))}\n"
        write(out, line)
        os.close(stdin)
        os.close(stdout)


def read(size: int) -> bytes:
    parts = []
    while size:
        part = os.read(0, min(size, 1 << 20))
        if not part:
            os._exit(1)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def main() -> None:
    out = os.dup(1)
    write(out, "ready\n")
    header = json.loads(read(int.from_bytes(read(8), "big")))
    payload = marshal.loads(read(header["payload"]))
    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, header["limits"]["wall_seconds"])
    try:
        (run_programs if header["mode"] == "stdio" else run_function)(header, payload, out)
    except TimeOutError:
        os._exit(TIMED_OUT)
    os._exit(0)


if __name__ == "__main__":
    main()
