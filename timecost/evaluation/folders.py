"""Folders of results read as one: records, sweeps, samples, value heads and provenance, no two models of one name."""

from pathlib import Path

from timecost.errors import UserError
from timecost.evaluation.results import SAMPLES, key_of, read_results, read_samples
from timecost.evaluation.value_data import read_value
from timecost.evaluation.viewer import visible

MAX_RECORDS = 400  # on one page


def read_folders(folders: list[Path]) -> dict:
    """Records, sweeps, samples, heads and provenance of folders of results. A model that several of them hold is named
    after its folder there. But for what the samples say, every text is as `readable` gives it. Raises UserError for
    what is missing or broken."""
    from timecost import __version__

    found = {"records": [], "sweeps": [], "samples": [], "probed": [], "heads": [], "provenance": [], "notes": []}
    seen: set[tuple] = set()
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a folder is named twice: name each folder once")
    for folder in folders:
        results, value, shown = readable(read_results(folder)), read_value(folder), visible(folder)
        samples = read_samples(folder) if (folder / SAMPLES).is_file() else []
        if not samples:
            found["notes"].append(f"{shown} holds no {SAMPLES}: its samples and paired comparisons are left out.")
        prefix = visible(distinct_prefix(folder, results["records"], seen))
        held = {record["model"] for record in results["records"]}  # a reference may be a model of another folder
        for rows, name in (
            (results["records"], "records"), (results.get("sweeps") or [], "sweeps"),
            (readable(value["heads"]), "heads"), (samples, "samples"), (value["samples"], "probed"),
        ):  # fmt: skip
            for row in rows:
                row = {**row, "model": visible(prefix + str(row["model"])), "task": visible(row["task"])}
                if row.get("reference") in held:
                    row["reference"] = prefix + row["reference"]
                found[name].append(row)
        seen |= {key_of(record) for record in found["records"]}
        origin = results.get("provenance")
        origin = origin if isinstance(origin, dict) else {}
        versions = origin.get("versions")
        written = versions.get("timecost") if isinstance(versions, dict) else None
        if written != __version__:
            found["notes"].append(
                f"{shown} was written by timecost {written or 'of an unknown version'}, this page by {__version__}: a "
                "measure may have been defined in another way."
            )
        found["provenance"].append({"folder": shown, "facts": flat(origin)})
    if len(found["records"]) > MAX_RECORDS:
        raise UserError(
            f"{len(found['records'])} records are too many for one page (at most {MAX_RECORDS}): fewer folders"
        )
    return found


def distinct_prefix(folder: Path, records: list[dict], seen: set[tuple]) -> str:
    """What goes before the models of a folder so that none has a name that was `seen`: as much of its path as it
    takes."""
    parts = folder.resolve().parts
    prefixes = ["".join(f"{part}/" for part in parts[len(parts) - depth :]) for depth in range(len(parts))]
    clashes = (
        any(key_of({**one, "model": prefix + str(one["model"])}) in seen for one in records) for prefix in prefixes
    )
    return next((prefix for prefix, clash in zip(prefixes, clashes, strict=True) if not clash), prefixes[-1])


def flat(tree: dict, prefix: str = "") -> list[tuple[str, object]]:
    """A nested mapping as (name, value) pairs, without empty values."""
    out = []
    for name, value in tree.items():
        if isinstance(value, dict):
            out += flat(value, "" if name in ("versions", "machine") else f"{name} ")
        elif value is not None:
            out.append((prefix + name, value))
    return out


def readable(value):
    """The same value with what cannot be seen in its texts written out."""
    if isinstance(value, dict):
        return {visible(key): readable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [readable(one) for one in value]
    return visible(value) if isinstance(value, str) else value
