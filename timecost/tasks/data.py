"""Where the rows of a dataset come from: files in the folder TIMECOST_DATA_DIR, or the Hugging Face hub without it."""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from timecost.errors import UserError

VARIABLE = "TIMECOST_DATA_DIR"


def load_rows(
    file: str, hub: tuple[str, str, str], columns: tuple[str, ...], hub_names: dict[str, str] | None = None
) -> list[dict]:
    """The rows of one split, each with text in all of `columns`.

    Args:
        file: path inside the folder that TIMECOST_DATA_DIR names, such as `gsm8k/train.jsonl`; JSON Lines, or one list
            in a file that ends in `.json`.
        hub: name, configuration and split on the hub.
        columns: what every row must have. A number becomes its shortest text, 51.0 becomes `51`.
        hub_names: what columns are called on the hub, where it differs.

    Raises UserError for a missing, unreadable or empty file, a row without one of the columns, and no connection.
    """
    if folder := os.environ.get(VARIABLE):
        source = str(Path(folder) / file)
        rows = read_rows(Path(source))
    else:
        source = " ".join(hub)
        rows = download_rows(hub, file)
        rows = [row | {name: row.get(other) for name, other in (hub_names or {}).items()} for row in rows]
    if not rows:
        raise UserError(f"{source} is empty")
    for number, row in enumerate(rows, start=1):
        for column in columns:
            row[column] = as_text(row.get(column))
            if not isinstance(row.get(column), str) or not row[column].strip():
                raise UserError(f"{source}, row {number}: no {column}")
    return rows


def as_text(value):
    """A number as text, without the `.0` of a whole one; everything else as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return str(int(value)) if value == value and abs(value) < 1e15 and value == int(value) else str(value)


def read_rows(path: Path) -> list[dict]:
    """The rows of a file: JSON Lines, or one list in a file that ends in `.json`. UserError where it cannot be read."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: {VARIABLE} must name the folder of the datasets, or be unset")
    rows, number = [], 0
    try:
        with path.open(encoding="utf-8") as file:
            listed = json.load(file) if path.suffix == ".json" else map(json.loads, file)
            if isinstance(listed, dict):
                raise UserError(f"{path}: not a list of rows")
            for number, row in enumerate(listed, start=1):
                if not isinstance(row, dict):
                    raise UserError(f"{path}, row {number}: not a JSON object")
                rows.append(row)
    except json.JSONDecodeError as error:
        where = path if path.suffix == ".json" else f"{path}, row {number + 1}"
        raise UserError(f"{where}: not JSON ({error})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    return rows


def download_rows(hub: tuple[str, str, str], file: str) -> list[dict]:
    """The rows of a dataset on the hub: name, configuration, split. UserError without a connection; `file` is named."""
    import datasets

    name, config, split = hub
    print(f"loading {name} ({split}) from the Hugging Face hub", file=sys.stderr)
    with _no_connection(f"load {name} from the hub", file):
        return datasets.load_dataset(name, config, split=split).to_list()


def download_file(url: str, sha256: str, file: str) -> Path:
    """A file from a public repository, kept in the cache of `datasets`. UserError when it cannot be had, or is another.

    `sha256` is what its bytes must give, in hexadecimal digits.
    """
    import datasets

    print(f"loading {url}", file=sys.stderr)
    with _no_connection(f"load {url}", file):
        path = Path(datasets.DownloadManager().download(url))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise UserError(f"{url} holds another file than it should: set {VARIABLE} to a folder that holds {file}")
    return path


@contextmanager
def _no_connection(attempt: str, file: str) -> Iterator[None]:
    """Tells what a library raises for want of a connection in one line, which names the local file instead."""
    hub_logger = logging.getLogger("huggingface_hub")
    level = hub_logger.level
    hub_logger.setLevel(logging.ERROR)  # it announces each of its retries
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot {attempt} ({reason}): connect, or set {VARIABLE} to a folder that holds {file}"
        ) from error
    finally:
        hub_logger.setLevel(level)
