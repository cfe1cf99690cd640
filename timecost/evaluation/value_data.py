"""`value.json` of a folder of results: what was measured of a value head, as the report reads it.

    {"heads": [{
        "model": "levin", "task": "arithmetic",          labels, as in results.json
        "calibration_error": 0.013,                      of the forecast in `reliability`; with _low and _high
        "reliability": [{"forecast": 0.1, "outcome": 0.12, "num": 400}, ...],
        "anytime": {"tokens": [0, 4, ...], "measured": [0.2, ...], "measured_low": [...], "measured_high": [...],
                    "forecast": [...]},
        "guarantee": {"price": 0.003, "loss": 0.01, "delta": 0.1, "num_problems": 1000, "num_harms": 3}}],
     "samples": [...]}

Each of a head's parts may be left out. `anytime` holds shares of right answers when thinking is closed after so many
tokens. `guarantee` is what `timecost calibrate-value` stores. `samples` are rows as in samples.jsonl with `steps`:

    "value_at_start": 0.2, "steps": [{"text": "a=7;", "tokens": 4, "value": 0.6}, ...]

`text` is the part of the completion that the step wrote, `tokens` the thinking tokens up to its end, and `value` the
chance that the answer is right when thinking ends there. `measured_head` and `steps_of` make both from probed traces.
Samples of a B'MOJO also say which tokens its eidetic memory kept:

    "memory": {"window": 16, "size": 32, "num_prompt": 9, "tokens": ["a", "7", ...], "layers": [[[1, 3], ...], ...]}

`tokens` are the texts of prompt and completion, and each layer lists the tokens that its set of `size` places ever held
as [position, chunk]: the set takes a token once its chunk of `window` tokens is full, and `chunk` is the first one
whose queries do not find it there any more. Rows of samples.jsonl may carry all these keys.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from timecost.errors import UserError
from timecost.evaluation.results import key_of

VALUE = "value.json"
HELD = 0.5  # a chance of a right answer above which it counts as within reach


def read_value(folder: str | Path) -> dict:
    """`{"heads": [...], "samples": [...]}`, both empty without a value.json. UserError for a broken one."""
    path = Path(folder) / VALUE
    if not path.is_file():
        return {"heads": [], "samples": []}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        heads, samples = list(value.get("heads", [])), [whole(row) for row in value.get("samples", [])]
        for head in heads:
            check_head(head)
        for row in samples:
            key_of(row)
            if row.get("steps"):
                marginal_values(row)
            if row.get("memory"):
                check_memory(row["memory"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{path}' does not hold measures of a value head ({error!r}): measure them again") from error
    return {"heads": heads, "samples": samples}


def whole(row: dict) -> dict:
    """A sample with what it may leave out: difficulty, tokens (those up to its last step), and that it ended."""
    thinking = row["steps"][-1]["tokens"] if row.get("steps") else 0
    return {"difficulty": None, "thinking_tokens": thinking, "answer_tokens": 0, "finished": True, **row}


def check_head(head: dict) -> None:
    """Raises KeyError, TypeError or ValueError for a head whose parts do not fit together."""
    head["model"], head["task"]
    for one in head.get("reliability") or []:
        [float(one[name]) for name in ("forecast", "outcome", "num")]
    if curve := head.get("anytime"):
        lengths = {len(curve[name]) for name in ("tokens", "measured")}
        lengths |= {len(v) for name in ("measured_low", "measured_high", "forecast") if (v := curve.get(name))}
        if len(lengths) != 1:
            raise ValueError("the lists of an anytime curve differ in length")


def check_memory(memory: dict) -> None:
    """Raises KeyError, TypeError or ValueError for a memory whose parts do not fit together."""
    length = len([str(token) for token in memory["tokens"]])
    if min(int(memory["window"]), int(memory["size"])) < 1 or not 0 <= int(memory["num_prompt"]) <= length:
        raise ValueError("a memory without window, size or prompt")
    for layer in memory["layers"]:
        for position, chunk in layer:
            if not 0 <= position < length or chunk <= position // memory["window"]:
                raise ValueError(f"a memory that holds token {position} until chunk {chunk}")


def measured_head(
    model: str, task: str, *, trace, position, value, forecast, num_thinking, end_value, num_bins: int = 15
) -> dict:
    """A head's entry, from probed traces: `anytime`, `reliability` and `calibration_error`.

    N boundaries, ordered by trace and position: `trace` (N,) index of each one's trace, `position` (N,) in thinking
    tokens, `value` (N,) the measured chance of a right answer when thinking ends there and `forecast` (N,) the head's,
    NaN where unknown. T traces: `num_thinking` (T,) and `end_value` (T,), the chance at their own end.
    """
    trace, position, value, forecast, num_thinking, end_value = (
        np.asarray(x, float) for x in (trace, position, value, forecast, num_thinking, end_value)
    )
    known = np.isfinite(value) & np.isfinite(forecast)
    order = np.flatnonzero(known)[np.argsort(forecast[known], kind="stable")]
    bins = [b for b in np.array_split(order, num_bins) if len(b)]
    error = sum(abs(forecast[b].sum() - value[b].sum()) for b in bins) / max(1, len(order))
    stride = position.max(initial=0) + num_thinking.max(initial=0) + 1  # of one sorted axis for all traces
    keys, traces = trace * stride + position, np.arange(len(num_thinking))
    curve: dict[str, list] = {"tokens": [], "measured": [], "forecast": []}
    for tokens in np.unique(np.linspace(0, np.quantile(num_thinking, 0.98), 25).round()):
        last = np.searchsorted(keys, traces * stride + tokens, side="right") - 1
        at = np.where(num_thinking <= tokens, end_value, value[last])
        seen = (last >= 0) & (trace[last] == traces) & np.isfinite(at) & np.isfinite(forecast[last])
        if seen.any():
            curve["tokens"].append(int(tokens))
            curve["measured"].append(float(at[seen].mean()))
            curve["forecast"].append(float(forecast[last][seen].mean()))
    return {
        "model": model, "task": task, "calibration_error": float(error), "anytime": curve,
        "reliability": [
            {"forecast": float(forecast[b].mean()), "outcome": float(value[b].mean()), "num": len(b)} for b in bins
        ],
    }  # fmt: skip


def steps_of(decode: Callable[[list[int]], str], thinking_ids: list[int], position, value) -> dict:
    """`value_at_start` and `steps` of a sample, from its boundaries: positions in tokens that rise, and their values.

    `decode` turns the ids of a step into the text that the completion holds. What follows the last boundary is no step.
    """
    out: dict = {"value_at_start": None, "steps": []}
    before = 0
    for at, chance in zip(position, value, strict=True):
        if at == 0:
            out["value_at_start"] = float(chance)
        elif np.isfinite(chance):
            out["steps"].append({"text": decode(thinking_ids[before:at]), "tokens": int(at), "value": float(chance)})
            before = at
    return out


def marginal_values(row: dict) -> list[float | None]:
    """What each step of a sample changed the chance of a right answer by; None for the first without a start."""
    values = [row.get("value_at_start"), *(float(step["value"]) for step in row["steps"])]
    return [None if before is None else after - before for before, after in zip(values, values[1:], strict=False)]


def failure_point(row: dict) -> int | None:
    """The step of a sample with a wrong answer with which the right one went out of reach, None where it never was.

    It is the last step that takes the chance of a right answer from one half or more to less than that for good.
    """
    values = [row.get("value_at_start"), *(step["value"] for step in row["steps"])]
    held = [i for i, value in enumerate(values) if value is not None and value >= HELD]
    if row["status"] != "incorrect" or not held or held[-1] == len(values) - 1:
        return None
    return held[-1]
