"""Starting a training in several processes with accelerate, from inside the `timecost train` command.

accelerate has a trap: with `--cpu`, or with distributed_type MULTI_CPU, it starts one process whatever number it is
given. Here that is an error, and several processes on CPUs are started like several GPUs.
"""

import logging
import os

from timecost.errors import UserError
from timecost.options import find_recipe, load_recipe

EXPECTED = "TIMECOST_NUM_PROCESSES"  # tells a started process how many there should be


def accelerate_options(num_processes: int | None, accelerate_config: str | None) -> list[str]:
    """Options of `accelerate launch`; empty when one process is asked for, which needs no launcher.

    `accelerate_config` is a path or a name in `recipes/accelerate`. Raises UserError for a configuration under which
    accelerate would quietly start fewer processes.
    """
    if accelerate_config is None:
        if (num_processes or 1) == 1:
            return []
        options = ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        return [*options, "--main_process_port", "0", "--num_processes", str(num_processes)]
    path = find_recipe(accelerate_config, "accelerate")
    config = load_recipe(path)
    num_processes = num_processes or config.get("num_processes", 1)
    kind = config.get("distributed_type") or "NO"  # YAML reads an unquoted NO as false
    if kind == "NO" and num_processes == 1:
        return []
    if kind in ("NO", "MULTI_CPU"):
        raise UserError(
            f"{path}: with distributed_type {kind} accelerate starts one process, not {num_processes}: write MULTI_GPU "
            "instead, which also starts several processes on CPUs"
        )
    return ["--config_file", str(path), "--num_processes", str(num_processes)]


def launch(options: list[str], argv: list[str]) -> None:
    """Run `timecost train` with `argv` in the processes that `options` of `accelerate launch` ask for.

    The processes tell their errors themselves; here an error becomes SystemExit with the first one's exit code.
    """
    import torch.distributed.run  # noqa: F401  its loggers exist from here on, and repeat what the processes say
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ[EXPECTED] = options[options.index("--num_processes") + 1]
    try:
        launch_command(launch_command_parser().parse_args([*options, "--module", "timecost.cli", "train", *argv]))
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        raise SystemExit(code if code > 0 else 128 - code) from None  # torch gives a signal as its negative number
    except SignalException as stop:
        raise SystemExit(128 + stop.sigval) from None
    except ValueError as error:
        raise UserError(f"accelerate: {error}") from error
    finally:
        del os.environ[EXPECTED]


def check_world_size(world_size: int) -> None:
    """Raises UserError when the launcher started another number of processes than was asked for."""
    expected = int(os.environ.get(EXPECTED, world_size))
    if expected != world_size:
        raise UserError(
            f"{expected} processes were asked for and accelerate started {world_size}: its configuration should say "
            "distributed_type: MULTI_GPU"
        )
