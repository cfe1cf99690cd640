"""The `timecost` command: finds the module of a subcommand, runs it, and turns its errors into one line.

Each command is a function `run(argv)` in a module of its own, imported only when it is called, so that
`timecost --help` answers at once. Exit codes: 0, 2 for wrong input or a full disk, 130 after Ctrl-C, 143 after SIGTERM.
"""

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from importlib import import_module

from timecost.errors import Terminated, UserError, is_disk_full, nearest
from timecost.options import with_underscores

# name -> (module with run(argv), line of help)
COMMANDS = {
    "demo": ("timecost.demo", "train, evaluate and report on two CPU cores, offline, in minutes"),
    "train": ("timecost.train", "train from a recipe: --config NAME|PATH [--num_processes N] [--any_field VALUE]"),
    "generate": ("timecost.generate", "answer questions within a budget of thinking: --budget N [--enforce hard]"),
    "evaluate": ("timecost.evaluation.evaluate", "measure accuracy, tokens and speed-up on tasks and budgets"),
    "compare": ("timecost.evaluation.compare", "paired differences of two runs: compare A B"),
    "report": ("timecost.evaluation.report", "write one self-contained HTML page from results"),
    "fit-cost": ("timecost.fit_cost", "fit seconds to tokens on this machine, for a price in seconds or dollars"),
    "fit-value": ("timecost.fit_value", "train a head that knows what more thinking would buy, on a frozen model"),
    "calibrate-value": ("timecost.calibrate_value", "bound the accuracy that the head may cost, and store the price"),
    "validate": ("timecost.tasks.validate", "check that a task's gold answers score 1.0"),
}


def help_text() -> str:
    lines = ["usage: timecost COMMAND [options]", ""]
    lines += [f"  {name:<15} {text}" for name, (_, text) in COMMANDS.items()]
    lines += ["", "`timecost COMMAND --help` lists the options, which may be written with dashes or underscores."]
    return "\n".join(lines)


def dispatch(argv: list[str]) -> None:
    """Run `argv[0]` with the rest. Raises UserError for a command that does not exist."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(help_text())
        return
    if argv[0] in ("-V", "--version"):
        from timecost import __version__

        print(f"timecost {__version__}")
        return
    name = argv[0]
    if name not in COMMANDS:
        raise UserError(f"unknown command '{name}'{nearest(name, COMMANDS)} (commands: {', '.join(COMMANDS)})")
    import_module(COMMANDS[name][0]).run(with_underscores(argv[1:]))


def main(argv: list[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    with _stoppable():
        try:
            dispatch(list(sys.argv[1:] if argv is None else argv))
        except KeyboardInterrupt as stop:
            return _stopped(stop)
        except BrokenPipeError:  # `timecost ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except Exception as error:
            try:
                _let_main_process_speak()
            except KeyboardInterrupt:
                return 143
            if isinstance(error, UserError):
                _say(f"error: {error}")
            elif is_disk_full(error):
                where = getattr(error, "filename", None)
                _say(f"error: the disk is full{f' ({where})' if where else ''}: free some space and start again")
            else:
                raise
            return 2
    return 0


def _stopped(stop: KeyboardInterrupt) -> int:
    word, code = ("terminated", 143) if isinstance(stop, Terminated) else ("interrupted", 130)
    if _rank() == 0:
        _say(f"{word} {stop}".rstrip())
    return code


@contextmanager
def _stoppable():
    """SIGTERM and Ctrl-C become exceptions, once: a second one would break into the clean-up that the first began."""

    def stop(signum, frame):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise Terminated() if signum == signal.SIGTERM else KeyboardInterrupt()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _rank() -> int:
    return int(os.environ.get("RANK", 0))


def _let_main_process_speak() -> None:
    """An error in one of several processes mostly strikes all. The launcher ends all when the first is gone, so that
    the others wait a while for the main one to tell it; they speak when nobody has ended them by then."""
    if _rank() > 0:
        time.sleep(20)


def _say(text: str) -> None:
    newline = "\n" if sys.stderr.isatty() else ""  # leaves a progress bar on its own line
    print(f"{newline}{' '.join(text.split())}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
