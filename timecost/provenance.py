"""Where a result comes from: versions, commit, machine, command and date."""

import contextlib
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def provenance() -> dict:
    """Versions, commit of the source (None outside a checkout), machine, command and date of this process."""
    machine = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cpus": os.cpu_count(),
        **torch_facts(),
    }
    return {
        "versions": {"python": platform.python_version(), **versions()},
        "commit": commit(),
        "machine": machine,
        "command": command_line(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Of timecost and of the libraries that decide what it computes, as far as they are installed."""
    found = {}
    for name in ("timecost", "torch", "transformers", "trl", "peft", "datasets", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def command_line() -> str:
    """The command of this process, as it would be typed in the checkout."""
    program, root = Path(sys.argv[0]).resolve(), Path(__file__).parents[1]
    if program.name in ("timecost", "cli.py"):
        start = ["timecost"]
    elif program.suffix == ".py":
        start = ["python", str(program.relative_to(root) if program.is_relative_to(root) else program.name)]
    else:
        start = [program.name]
    return shlex.join([*start, *sys.argv[1:]])


def commit() -> str | None:
    """Commit of the checkout that this file lies in, with `+` when files outside of docs/ differ from it."""
    folder = Path(__file__).parent
    changes = ("status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(top,exclude)docs")

    def git(*args):
        return subprocess.run(["git", "-C", folder, *args], capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # not a checkout of another project that holds our site-packages
        return git("rev-parse", "HEAD") + ("+" if git(*changes) else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    """The processor's name, as the system tells it."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def torch_facts() -> dict:
    """Threads and GPU of this process, when it uses torch."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"threads": torch.get_num_threads(), "accelerator": gpu}
