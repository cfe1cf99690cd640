"""From a model and a task to samples on the disk, batch by batch: what is interrupted goes on, what is shared adds up.

A job is one model on one task at one budget. Its plan of batches is a pure function of its problems and settings, and
batch i belongs to process i modulo their number. A batch is sampled, judged, and written as a file of its own in one
step: a process that is killed loses the batch in its hands and nothing else. The process that finds all batches of a
job there makes its record and removes them.

    OUTPUT_PATH/unfinished/JOB/settings.json
    OUTPUT_PATH/unfinished/JOB/batch-00000.jsonl      one sample a line
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from timecost import __version__
from timecost.errors import UserError
from timecost.evaluation.batches import judge, num_batches, plan, sample, value_of
from timecost.evaluation.jobs import UNFINISHED, Job, encode_job
from timecost.evaluation.records import make_record
from timecost.evaluation.results import (
    RESULTS,
    finite,
    key_of,
    locked,
    make_folder,
    read_lines,
    read_results,
    read_samples,
    replacing,
    write_results,
)

SETTINGS = "settings.json"
# Of a record: what its samples depend on. `problems` and `model` are fingerprints.
SHAPING = (
    "split", "num_samples", "temperature", "seed", "batch_size", "max_completion_length", "max_answer_tokens",
    "num_fewshot", "baseline", "device", "problems_fingerprint", "model_fingerprint", "cost_coefficients",
    "least_value", "decline_novel", "clip", "value_head_fingerprint",
)  # fmt: skip


def processes() -> tuple[int, int]:
    """Rank of this process and number of processes, as accelerate and torchrun tell them."""
    try:
        rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    except ValueError:
        rank, world_size = 0, 0
    if not 0 <= rank < world_size:
        raise UserError(
            f"RANK is {os.environ.get('RANK')!r} and WORLD_SIZE {os.environ.get('WORLD_SIZE')!r}: "
            "a launcher sets both, RANK from 0 to WORLD_SIZE - 1; or unset them"
        )
    return rank, world_size


# What is there already ------------------------------------------------------------------------------------------------


def check_folder(folder: Path) -> list[dict]:
    """The records in a folder of results. UserError for those of another version, which may mean another thing."""
    if not (folder / RESULTS).exists():
        return []
    results = read_results(folder)
    version = results.get("provenance", {}).get("versions", {}).get("timecost", __version__)
    if version != __version__:
        raise UserError(
            f"'{folder}' was written by timecost {version}, this is {__version__}: name another --output_path"
        )
    return results["records"]


def is_finished(folder: Path, job: Job, records: list[dict]) -> bool:
    """Whether the record of a job is there. UserError when it, or what is there of it, was made in another way."""
    part = folder / job.folder / SETTINGS
    for record in records:
        if key_of(record) == job.key:
            check_same(folder, job, record, "holds")
            return True
    if part.exists():
        stored = json.loads(part.read_text(encoding="utf-8"))
        if stored.pop("version") != __version__:
            raise UserError(
                f"'{folder}' holds a part of {job.name} by another version of timecost: start it anew with --overwrite"
            )
        check_same(folder, job, stored, "holds a part of")
    return False


def check_same(folder: Path, job: Job, stored: dict, holds: str) -> None:
    """UserError that names what differs between a job and what is stored of it."""
    asked = finite(job.settings)
    others = {"problems_fingerprint": "other problems", "model_fingerprint": "another model",
              "value_head_fingerprint": "another value head", "cost_coefficients": "another cost model"}  # fmt: skip
    said = [
        others.get(name, f"{name} {stored.get(name, 'unknown')} (asked for: {asked[name]})")
        for name in SHAPING
        if name in asked and stored.get(name, "unknown") != asked[name]
    ]
    if said:
        raise UserError(
            f"'{folder}' {holds} {job.name}, made with {', '.join(said)}: ask for the same, name another --output_path "
            "or --label, or replace it with --overwrite"
        )


def discard(folder: Path, jobs: list[Job]) -> None:
    """Forget the unfinished parts of jobs. Every process calls it; none goes on before it is done.

    UserError for a part that another process is writing.
    """
    rank, world_size = processes()
    if world_size > 1 and "MASTER_ADDR" not in os.environ:
        raise UserError("--overwrite in several processes needs accelerate launch or torchrun to start them")
    if rank == 0:
        for job in jobs:
            part = folder / job.folder
            with contextlib.ExitStack() as held:
                for lock in part.glob("process-*.lock"):
                    held.enter_context(alone(part, lock.name))
                shutil.rmtree(part, ignore_errors=True)
    if world_size > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


# Running --------------------------------------------------------------------------------------------------------------


def run_jobs(
    folder: str | Path, jobs: list[Job], load_model: Callable, *, references: dict[str, list[dict]] | None = None,
    overwrite: bool = False, report: Callable[[dict | None, Job], None] = lambda record, job: None,
) -> list[dict | None]:  # fmt: skip
    """Bring jobs to their records in a folder of results; this process does its share.

    `load_model()` gives model and tokenizer, and is called when something has to be sampled. `references` are samples
    by task to compare with. What is finished is not sampled again, what is unfinished goes on, unless `overwrite`.
    `report(record, job)` is called as each record is there; with None for a job of which other processes still hold a
    share. Returns the records in the order of the jobs. Raises UserError for results that were made in another way, of
    another version, or that another process is writing.
    """
    from tqdm import tqdm

    folder, references = make_folder(folder), references or {}
    rank, world_size = processes()
    records = check_folder(folder)
    if overwrite:
        discard(folder, jobs)
    finished = [not overwrite and is_finished(folder, job, records) for job in jobs]
    missing = {job.key: missing_batches(folder, job) for job, done in zip(jobs, finished, strict=True) if not done}
    mine = {key: my_share(batches) for key, batches in missing.items()}
    loaded, encoded = None, {}
    if any(mine.values()):
        loaded = load_model()
        # a budget that the model does not know must not cost the time of the others
        encoded = {job.key: encode_job(*loaded, job) for job in jobs if mine.get(job.key)}
    out = []
    total, disable = sum(map(len, mine.values())), None if rank == 0 else True  # None: unless stderr is a terminal
    with how_to_go_on(overwrite), tqdm(total=total, unit="batch", disable=disable, leave=False) as bar:
        for job, done in zip(jobs, finished, strict=True):
            reference = references.get(job.task.name)
            if done:
                record, tells = finished_record(folder, job, reference if rank == 0 else None), rank == 0
            elif missing[job.key] and not mine[job.key]:
                record, tells = None, True  # what is missing is for others to sample, and so is the record to make
            else:
                if mine[job.key]:
                    bar.set_description(f"{job.task.name}, budget {job.key[2]}")
                    run_job(folder, job, *loaded, encoded[job.key], mine[job.key], bar)
                record, tells = collect(folder, job, reference)
            if tells:
                bar.clear()
                report(record, job)
            out.append(record)
    return out


@contextlib.contextmanager
def how_to_go_on(overwrite: bool):
    """Ctrl-C and SIGTERM pass, with a word on what becomes of the work."""
    try:
        yield
    except KeyboardInterrupt as stop:
        kept = "with --overwrite the same command begins anew"
        raise type(stop)(f"({kept if overwrite else 'finished batches are kept: the same command goes on'})") from None


def missing_batches(folder: Path, job: Job) -> list[int]:
    return [number for number in range(num_batches(job)) if not batch_path(folder, job, number).exists()]


def batch_path(folder: Path, job: Job, number: int) -> Path:
    return folder / job.folder / f"batch-{number:05d}.jsonl"


def my_share(batches: list[int]) -> list[int]:
    """Those of the batches that are this process's: whatever is missing, no two processes take the same."""
    rank, world_size = processes()
    return [number for number in batches if number % world_size == rank]


def run_job(folder: Path, job: Job, model, tokenizer, encoded: list[list[int]], numbers: list[int], bar) -> None:
    """Sample, judge and write the batches of these numbers; verifying overlaps with sampling."""
    part = make_folder(folder / job.folder)
    batches = plan(job, encoded)
    with alone(part), ThreadPoolExecutor(1) as beside:
        with replacing(part / SETTINGS) as file:
            json.dump({**finite(job.settings), "version": __version__}, file)
        waiting, decides = None, value_of(model, tokenizer, job)
        for number in numbers:
            completions, seconds = sample(model, tokenizer, job, encoded, batches[number], decides)
            if waiting is not None:
                waiting.result()
            path = batch_path(folder, job, number)
            waiting = beside.submit(write_batch, path, tokenizer, job, batches[number], completions, seconds)
            bar.update()
        if waiting is not None:
            waiting.result()


def write_batch(path: Path, tokenizer, job: Job, batch, completions, seconds: float) -> None:
    rows = judge(tokenizer, job, batch, completions, seconds)
    with replacing(path) as file:
        for row in rows:
            file.write(json.dumps(finite(row), ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def alone(part: Path, lock: str | None = None):
    """Hold a process's share of an unfinished job, this one's unless a lock is named; the system lets go of it when the
    process dies."""
    with open(part / (lock or f"process-{processes()[0]}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"'{part}' is being written by another process: wait for it, or name another --output_path"
            ) from None
        yield


def collect(folder: Path, job: Job, reference: list[dict] | None) -> tuple[dict | None, bool]:
    """The record of a job whose batches are all there, written with its samples, and whether to tell of it.

    None while some are missing; a record that another process has just made is its own to tell.
    """
    part = folder / job.folder
    with contextlib.suppress(FileNotFoundError), locked(part):
        if missing_batches(folder, job):
            if part.exists():
                return None, True
            raise FileNotFoundError
        rows = [row for number in range(num_batches(job)) for row in read_lines(batch_path(folder, job, number))]
        rows.sort(key=lambda row: (row["problem"], row["sample"]))
        found = [(row["problem"], row["sample"]) for row in rows]
        if found != [(i, j) for i in range(len(job.problems)) for j in range(job.settings["num_samples"])]:
            raise UserError(f"'{part}' holds other samples than were asked for: start it anew with --overwrite")
        record = make_record(rows, job.settings, reference)
        write_results(folder, record, rows)
        shutil.rmtree(part)
        with contextlib.suppress(OSError):
            part.parent.rmdir()  # when it was the last unfinished one
        return record, True
    return finished_record(folder, job, None), False


def finished_record(folder: Path, job: Job, reference: list[dict] | None) -> dict:
    """The record that is there, compared anew when there is a reference."""
    shutil.rmtree(folder / job.folder, ignore_errors=True)  # left by a kill between the record and its end
    with contextlib.suppress(OSError):
        (folder / UNFINISHED).rmdir()
    if reference is None:
        return next(record for record in check_folder(folder) if key_of(record) == job.key)
    rows = read_samples(folder, lambda row: key_of(row) == job.key)
    record = make_record(rows, job.settings, reference)
    write_results(folder, record, rows)
    return record
