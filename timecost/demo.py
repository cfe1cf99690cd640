"""`timecost demo`: trains the embedded model for accuracy alone, for accuracy and time, and to obey budgets.

    timecost demo                   # minutes on two CPU cores, offline; writes demo/report.html

Each model is trained and evaluated in a process of its own, on one thread: two side by side are faster than one on two
threads. Their output goes to logs/ in the demo's folder. The model that knows budgets is evaluated at each of them.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from timecost.errors import UserError

# label -> packaged recipe
ARMS = {"accuracy": "arithmetic_accuracy", "levin": "arithmetic_levin", "budget": "arithmetic_budget"}
BUDGETS = {"budget": ["--budgets", "8,16,32,64,inf", "--enforce", "hard"]}  # label -> where it is evaluated
BACKBONES = {"llama": "arithmetic_base", "bmojo": "arithmetic_base_bmojo"}
SHOWN = ("8", "16", "32", "64")  # at which one problem is printed
REFERENCE = "accuracy"  # what the speed-up is measured against
NUM_STEPS = 90
NUM_PROBLEMS, NUM_SAMPLES = 300, 8
PROBED = 6  # problems on which the report shows what each step was worth
WRITTEN = ("results.json", "samples.jsonl", "value.json", "report.html", "frontier.png", "frontier.svg")


def demo(
    out: str | Path = "demo",
    *,
    steps: int = NUM_STEPS,
    seed: int = 0,
    model_name_or_path: str = "arithmetic_base",
    num_problems: int = NUM_PROBLEMS,
    num_samples: int = NUM_SAMPLES,
) -> list[dict]:
    """Train the three arms, evaluate them and the base, write the report into `out`; returns the records.

    What an earlier demo wrote into `out` is replaced. Raises UserError when `out` holds something else, and when one
    of the processes fails, with the name of its log.
    """
    from timecost.evaluation import figures
    from timecost.evaluation.probe import probe_folder
    from timecost.evaluation.records import compare_all
    from timecost.evaluation.report import write_report
    from timecost.evaluation.results import budget_order
    from timecost.loading import check_model_path
    from timecost.tasks import resolve_model

    for name, value in {"steps": steps, "num_problems": num_problems, "num_samples": num_samples}.items():
        if value < 1:
            raise UserError(f"{name} is {value}: it must be at least 1")
    check_model_path(resolve_model(model_name_or_path))
    out = prepare(Path(out))
    common = ["--max_steps", steps, "--seed", seed, "--model_name_or_path", model_name_or_path]
    common += ["--logging_steps", 1, "--disable_tqdm", "true", "--save_strategy", "no", "--eval_strategy", "no"]
    train = {
        arm: ["train", "--config", recipe, "--output_dir", out / arm, *common, "--report_to", "none"]
        for arm, recipe in ARMS.items()
    }
    run_all(train, out / "logs", "train", steps)
    models = {"base": model_name_or_path, **{arm: out / arm for arm in ARMS}}
    evaluate = ["--tasks", "arithmetic", "--num_problems", num_problems, "--num_samples", num_samples, "--seed", seed]
    run_all(
        {
            label: ["evaluate", "--model_name_or_path", model, "--label", label, "--output_path", out, *evaluate,
                    *BUDGETS.get(label, [])]
            for label, model in models.items()
        },
        out / "logs",
        "evaluate",
    )  # fmt: skip
    order = list(models)
    records = compare_all(out, REFERENCE)
    records.sort(key=lambda record: (order.index(record["model"]), budget_order(record)))
    figures.save(figures.frontier(records), out / "frontier.png")
    with contextlib.suppress(UserError):  # a model before its training may write what its tokenizer cannot read back
        probe_folder(out, PROBED)
    write_report(out)
    return records


def prepare(out: Path) -> Path:
    """An empty folder for the demo: what an earlier demo wrote is removed, anything else is left and refused."""
    from timecost.evaluation.results import make_folder

    if out.is_dir() and any(out.iterdir()) and not (out / "logs").is_dir():
        raise UserError(f"'{out}' is not empty and no earlier demo wrote it: name another folder with --out")
    make_folder(out)
    for name in (*ARMS, "logs"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in WRITTEN:
        (out / name).unlink(missing_ok=True)
    (out / "logs").mkdir()
    return out


# Child processes ------------------------------------------------------------------------------------------------------


def run_all(commands: dict[str, list], logs: Path, verb: str, steps: int | None = None, at_once: int = 2) -> None:
    """Run `timecost` commands (label -> arguments) in parallel, `at_once` at a time, with one display of progress.

    Output goes to logs/<verb>_<label>.log. `steps` is the number of training steps, for the bars. Raises UserError
    when one fails; the others are then ended, as they are on Ctrl-C.
    """
    waiting = list(commands)
    running: dict[str, tuple[subprocess.Popen, Path]] = {}
    with children_ended(running), display(list(commands), verb, steps) as show:
        while waiting or running:
            while waiting and len(running) < at_once:
                label = waiting.pop(0)
                log = logs / f"{verb}_{label}.log"
                running[label] = (start(commands[label], log), log)
            time.sleep(0.2)
            for label, (process, log) in list(running.items()):
                code = process.poll()
                show(label, log, code is not None)
                if code:
                    raise UserError(f"{verb} {label} failed with exit code {code}, see {log}: {last_words(log)}")
                if code == 0:
                    del running[label]


def start(arguments: list, log: Path) -> subprocess.Popen:
    """Start `timecost` with these arguments: offline, on one thread, in a process group of its own."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with open(log, "wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "timecost.cli", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **offline, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )


@contextlib.contextmanager
def children_ended(running: dict[str, tuple[subprocess.Popen, Path]]) -> Iterator[None]:
    """End what still runs when the block is left: SIGTERM to the process groups, SIGKILL after five seconds."""
    try:
        yield
    finally:
        for process, _ in running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process, _ in running.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def last_words(log: Path) -> str:
    """The line of a log that says what went wrong: the last one that starts with `error:`, or the last one at all."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["it wrote nothing"])[-1][:300]


# Progress -------------------------------------------------------------------------------------------------------------


def read_log(text: str) -> tuple[int, float | None, float | None]:
    """Steps done, and accuracy and tokens per completion as means over the last ten, from a training log."""
    accuracy, tokens = (
        [float(value) for value in re.findall(rf"'timecost/{name}': '?([-+.e\d]+)'?", text)]
        for name in ("accuracy", "tokens")
    )
    if not accuracy or not tokens:
        return 0, None, None
    return len(accuracy), sum(accuracy[-10:]) / len(accuracy[-10:]), sum(tokens[-10:]) / len(tokens[-10:])


@contextlib.contextmanager
def display(labels: list[str], verb: str, steps: int | None) -> Iterator[Callable[[str, Path, bool], None]]:
    """One live display with a bar per label; yields `show(label, log, done)`. A few plain lines without a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = [TextColumn(f"{verb} {{task.description}}"), BarColumn(bar_width=24)]
    columns += [MofNCompleteColumn(), TextColumn("{task.fields[measured]}"), TimeRemainingColumn()] if steps else []
    progress = Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal)
    bars = {label: progress.add_task(label, total=steps, start=False, measured="starting") for label in labels}
    said = dict.fromkeys(labels, 0)

    def show(label: str, log: Path, done: bool) -> None:
        bar = progress.tasks[bars[label]]
        if steps is None:
            if bar.start_time is None:
                progress.start_task(bar.id)
            if done:
                progress.update(bar.id, total=1, completed=1)
        else:
            step, accuracy, tokens = read_log(log.read_text(encoding="utf-8", errors="replace"))
            if step and bar.start_time is None:
                progress.start_task(bar.id)
            measured = "starting" if accuracy is None else f"accuracy {accuracy:.3f}  {tokens:5.1f} tokens"
            progress.update(bar.id, completed=step, measured=measured)
            if not console.is_terminal and 5 * step // steps > said[label]:
                said[label] = 5 * step // steps
                print(f"{verb} {label}: step {step} of {steps}, {measured}", file=sys.stderr, flush=True)
        if done and not console.is_terminal:
            print(f"{verb} {label}: done", file=sys.stderr, flush=True)

    with progress:
        yield show


def table(records: list[dict]) -> str:
    """The records as a small table of text."""
    from timecost.evaluation.figures import short_names

    names = short_names(record["model"] for record in records)
    lines = [f"{'model':<12} {'accuracy':>9} {'tokens':>7} {f'of {REFERENCE}':>12} {'speed-up, bits':>15}"]
    for record in records:
        ratio, bits = record["tokens_ratio"], record["speedup_bits"]
        itself = record["model"] == record["reference"]
        name = names[record["model"]] + ("" if record["budget"] == "inf" else f" {record['budget']}")
        lines.append(
            f"{name:<12} {100 * (record['accuracy'] or 0):>7.1f} % {record['tokens_mean']:>7.1f} "
            f"{'' if itself or ratio is None else f'{ratio:.2f}':>12} "
            f"{'' if itself or bits is None else f'{bits:+.2f}':>15}"
        )
    return "\n".join(lines)


def one_problem(out: Path) -> str:
    """What the model that knows budgets wrote for one problem at four of them: the first that the lowest gets wrong."""
    from timecost.evaluation.results import read_samples

    written: dict[int, dict[str, dict]] = {}
    for row in read_samples(out):
        if row["model"] in BUDGETS and row["budget"] in SHOWN and row["sample"] == 0:
            written.setdefault(row["problem"], {})[row["budget"]] = row
    low, high = SHOWN[0], SHOWN[-1]
    rows = max(written.values(), key=lambda at: (at[high]["status"] == "correct") - (at[low]["status"] == "correct"))
    lines = [f"One problem at {len(SHOWN)} budgets: {rows[low]['prompt']}   (answer {rows[low]['answer']})"]
    for budget in SHOWN:
        row = rows[budget]
        verdict = "right" if row["status"] == "correct" else "wrong"
        lines.append(f"{budget:>5}: {verdict}, {row['thinking_tokens']:>2} thinking tokens   {row['completion']}")
    return "\n".join(lines)


def run(argv: list[str]) -> None:
    """The command `timecost demo`."""
    from timecost.options import Parser

    parser = Parser("timecost demo", description="Train, evaluate and report on two CPU cores, offline, in minutes.")
    parser.add_argument("--out", default="demo", help="folder to write to (default: demo)")
    parser.add_argument(
        "--steps", type=int, default=NUM_STEPS, help=f"training steps of each arm (default: {NUM_STEPS})"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of training and sampling (default: 0)")
    parser.add_argument("--num_problems", type=int, default=NUM_PROBLEMS, help="problems to evaluate on")
    parser.add_argument("--num_samples", type=int, default=NUM_SAMPLES, help="samples per problem")
    backbone = parser.add_mutually_exclusive_group()
    backbone.add_argument("--backbone", choices=tuple(BACKBONES), default="llama", help="of the packaged model")
    backbone.add_argument("--model_name_or_path", help="another model to start from")
    args = vars(parser.parse_args(argv))
    args["model_name_or_path"] = args["model_name_or_path"] or BACKBONES[args["backbone"]]
    del args["backbone"]
    started = time.monotonic()
    records = demo(**args)
    minutes = (time.monotonic() - started) / 60
    print(table(records))
    print(one_problem(Path(args["out"])))
    print(f"{minutes:.1f} minutes. The report: {Path(args['out']) / 'report.html'}")
