"""The folder of results: `results.json` (one record per model, task, budget and way to enforce it), `samples.jsonl`.

Both are replaced in one step each (temporary file, then rename), under a lock on the folder, so that several
evaluations may write to the same folder and an interrupted one leaves what was there before.
"""

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from timecost.errors import UserError
from timecost.provenance import provenance

RESULTS, SAMPLES = "results.json", "samples.jsonl"


def key_of(row: dict) -> tuple[str, str, str, str]:
    """What a record or a sample belongs to: (model, task, budget, enforce); the price is said with budget auto."""
    return row["model"], row["task"], budget_text(row["budget"], row.get("price")), row.get("enforce", "none")


def budget_text(budget: int | str | None, price: str | None = None) -> str:
    """A budget as a record says it, `auto` with its price: `64`, `inf`, `auto at 0.001/token`."""
    return f"auto at {price}" if price is not None else "inf" if budget is None else str(budget)


def budget_order(record: dict) -> float:
    """Budgets by size; at a price, the units of time that one right answer is worth."""
    if record["budget"] == "auto":
        return 1 / max(float(record["price"].partition("/")[0]), 1e-300)
    return float(record["budget"])


def write_text(path: str | Path, text: str) -> None:
    """Replace the file at `path` by `text` in one step; the folder must exist."""
    with replacing(path) as file:
        file.write(text)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator:
    """A text file to write; it takes the place of `path` when the block ends, and vanishes when the block raises."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one writer at a time."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_results(folder: str | Path) -> dict:
    """`{"records": [...], "sweeps": [...], "provenance": {...}}` of a folder, or of the path of a results.json.

    Raises UserError when it is missing, not JSON, or holds no record.
    """
    path = Path(folder)
    path = path if path.suffix == ".json" else path / RESULTS
    if not path.is_file():
        raise missing(path)
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        records = results["records"]
        for record in records:
            key_of(record)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' is not a results file of timecost ({error}): evaluate again") from error
    if not records:
        raise UserError(f"'{path}' holds no record: evaluate a model first")
    return results


def missing(path: Path) -> UserError:
    where = f"'{path.parent}' holds no {path.name}" if path.parent.is_dir() else f"there is no folder '{path.parent}'"
    return UserError(f"{where}: write results there with `timecost evaluate --output_path {path.parent}`")


def read_samples(folder: str | Path, keep: Callable[[dict], bool] = lambda row: True) -> list[dict]:
    """The samples of a folder, or of the path of a .jsonl file, that `keep` accepts.

    Raises UserError when the file is missing or a line is broken.
    """
    path = Path(folder)
    path = path if path.suffix == ".jsonl" else path / SAMPLES
    if not path.is_file():
        raise missing(path)
    return read_lines(path, keep)


def read_lines(path: Path, keep: Callable[[dict], bool] = lambda row: True) -> list[dict]:
    """The rows of a file of samples that `keep` accepts. Raises UserError when a line is broken."""
    rows = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                key_of(row)
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"line {number} of '{path}' is not a sample of timecost: evaluate again") from error
            if keep(row):
                rows.append(row)
    return rows


def write_results(folder: str | Path, record: dict, samples: list[dict]) -> None:
    """Add a record and its samples to a folder; those of the same model, task, budget and enforce are replaced.

    The sweeps over budgets that the folder then holds are measured anew.
    """
    from timecost.evaluation.sweeps import sweeps_of

    folder = make_folder(folder)
    with locked(folder):
        for name in (RESULTS, SAMPLES):
            for left in folder.glob(f".{name}.*"):  # by a process that was killed: only one writes at a time
                left.unlink(missing_ok=True)
        records = read_results(folder)["records"] if (folder / RESULTS).exists() else []
        records = [old for old in records if key_of(old) != key_of(record)] + [record]
        records.sort(key=key_of)  # whichever of several evaluations ended first
        # The samples first: a record never speaks of samples that are not there.
        others = lambda row: key_of(row) != key_of(record)  # noqa: E731
        kept = read_samples(folder, others) if (folder / SAMPLES).exists() else []
        with replacing(folder / SAMPLES) as file:
            for row in kept + samples:
                file.write(json.dumps(finite(row), ensure_ascii=False, allow_nan=False) + "\n")
        sweeps = sweeps_of(records, kept + samples)
        write_json(folder / RESULTS, {"records": records, "sweeps": sweeps, "provenance": provenance()})


def write_json(path: str | Path, value) -> None:
    """Replace a JSON file in one step; NaN becomes null."""
    write_text(path, json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def make_folder(folder: str | Path) -> Path:
    """Create a folder and its parents. Raises UserError when a file is in the way or it may not be written."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"'{folder}' cannot be a folder, a file is in the way: name another one") from error
    except PermissionError as error:
        raise UserError(f"'{folder}' cannot be created, permission denied: name another folder") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"'{folder}' cannot be written: name another folder")
    return folder


def finite(value):
    """The same value with NaN and infinities replaced by None, which JSON can say."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
