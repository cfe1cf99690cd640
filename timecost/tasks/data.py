"""Where the rows of a dataset come from: files in the folder TIMECOST_DATA_DIR, or the Hugging Face hub without it."""

import json
import logging
import os
import sys
from pathlib import Path

from timecost.errors import UserError

VARIABLE = "TIMECOST_DATA_DIR"


def load_rows(file: str, hub: tuple[str, str, str], columns: tuple[str, ...]) -> list[dict]:
    """The rows of one split, each with text in all of `columns`.

    Args:
        file: path of a JSON Lines file inside the folder that TIMECOST_DATA_DIR names, such as `gsm8k/train.jsonl`.
        hub: name, configuration and split on the hub.
        columns: what every row must have.

    Raises UserError for a missing, unreadable or empty file, a row without one of the columns, and no connection.
    """
    if folder := os.environ.get(VARIABLE):
        source = str(Path(folder) / file)
        rows = _read_lines(Path(source))
    else:
        source = " ".join(hub)
        rows = _download(hub, file)
    if not rows:
        raise UserError(f"{source} is empty")
    for number, row in enumerate(rows, start=1):
        for column in columns:
            if not isinstance(row.get(column), str) or not row[column].strip():
                raise UserError(f"{source}, row {number}: no {column}")
    return rows


def _read_lines(path: Path) -> list[dict]:
    if not path.is_file():
        raise UserError(f"{path} does not exist: {VARIABLE} must name the folder of the datasets, or be unset")
    rows = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise UserError(f"{path}, row {number}: not a JSON object")
                rows.append(row)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, row {number}: not JSON ({error})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    return rows


def _download(hub: tuple[str, str, str], file: str) -> list[dict]:
    import datasets

    name, config, split = hub
    print(f"loading {name} ({split}) from the Hugging Face hub", file=sys.stderr)
    hub_logger = logging.getLogger("huggingface_hub")
    level = hub_logger.level
    hub_logger.setLevel(logging.ERROR)  # it announces each of its retries
    try:
        return datasets.load_dataset(name, config, split=split).to_list()
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot load {name} from the hub ({reason}): connect, or set {VARIABLE} to a folder that holds {file}"
        ) from error
    finally:
        hub_logger.setLevel(level)
