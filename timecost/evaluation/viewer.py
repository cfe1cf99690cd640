"""Which samples a report carries with it, and how: a bounded part of them, as text that cannot be mistaken for markup.

All samples stay in samples.jsonl. A page takes whole rounds of samples, problem by problem over the difficulties, until
MAX_BYTES are used; long texts lose their middle.
"""

import json
import re
from collections.abc import Iterable, Sequence

from timecost.evaluation import figures
from timecost.evaluation.records import problem_key
from timecost.evaluation.results import key_of
from timecost.evaluation.value_data import failure_point, marginal_values

MAX_SHOWN = 4000  # characters of a prompt, a completion or a label
MAX_BYTES = 3_000_000  # of the samples on a page
MAX_PROBLEMS = 400  # of a page
MAX_TOKENS = 2000  # of a sample whose memory is shown
STATUS = ("correct", "incorrect", "verifier_error")
# Characters that would move, hide or break what stands beside them: controls, bidirectional marks, lone surrogates.
UNSEEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def shorten(written: str, most: int = MAX_SHOWN) -> str:
    """The beginning and the end of a text that is longer than `most` characters, and how much is left out."""
    half = most // 2
    if len(written) <= most:
        return written
    return f"{written[:half]}\n[... {len(written) - 2 * half:,} characters left out ...]\n{written[-half:]}"


def visible(written) -> str:
    """A text with what cannot be seen written out, such as \u27e8U+202E\u27e9, and shortened."""
    return UNSEEN.sub(lambda match: f"\u27e8U+{ord(match[0]):04X}\u27e9", shorten(str(written)))


def prompt_text(row: dict) -> str:
    """The prompt of a row as text: of a conversation, its last message."""
    return row["prompt"] if isinstance(row["prompt"], str) else str(row["prompt"][-1]["content"])


def as_script(value) -> str:
    """JSON for the inside of a <script> element: it holds no `<`, `>` or `&`."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def page_data(
    records: list[dict], samples: list[dict], setting_names: list[str], colours: list[str], probed: Sequence[dict] = ()
) -> dict:
    """What the viewer of a page shows: settings (one a record), problems, and samples of both.

    `setting_names` and `colours` belong to the records. `probed` are samples with the values of their steps; those that
    are not among `samples` are shown and not counted. `shown` and `total` count samples.
    """
    steps = {(*key_of(row), problem_key(row), row["completion"]): row for row in probed}
    samples = [{**row, **steps.pop((*key_of(row), problem_key(row), row["completion"]), {})} for row in samples]
    samples += [{**row, "probed": True} for row in steps.values()]
    settings = [
        {"name": visible(name), "model": visible(record["model"]), "task": visible(record["task"]), "colour": colour,
         "budget": int(record["budget"]) if figures.is_bounded(record) else None}
        for record, name, colour in zip(records, setting_names, colours, strict=True)
    ]  # fmt: skip
    number = {key_of(record): i for i, record in enumerate(records)}
    problems: dict[tuple, dict[int, list[dict]]] = {}  # (task, problem) -> setting -> samples
    total = 0
    for row in samples:
        if (setting := number.get(key_of(row))) is not None:
            problems.setdefault((row["task"], problem_key(row)), {}).setdefault(setting, []).append(row)
            total += 1
    for by_setting in problems.values():
        for rows in by_setting.values():
            rows.sort(key=lambda row: not is_probed(row))  # the one whose steps are known comes first
    unprobed = lambda key: not any(is_probed(row) for rows in problems[key].values() for row in rows)  # noqa: E731
    order = sorted(spread_out(problems), key=unprobed)[:MAX_PROBLEMS]
    out_problems, out_samples, used, most = (
        [],
        [],
        0,
        max((len(r) for p in problems.values() for r in p.values()), default=0),
    )
    for turn in range(most):
        for index, key in enumerate(order):
            by_setting = problems[key]
            if turn == 0:
                problem = as_problem(by_setting)
                used += len(as_script(problem))
            rows = [
                [setting, index, *as_sample(rows[turn])]
                for setting, rows in sorted(by_setting.items())
                if turn < len(rows)
            ]
            used += sum(len(as_script(row)) for row in rows)
            if used > MAX_BYTES and (turn or index):
                break
            if turn == 0:
                out_problems.append(problem)
            out_samples += rows
        order = order[: len(out_problems)]
        if used > MAX_BYTES:
            break
    with_steps = {sample[1] for sample in out_samples if any(sample[-2:])}
    return {
        "settings": settings, "problems": out_problems, "samples": out_samples,
        "first": telling(out_problems, with_steps),
        "shown": len(out_samples), "total": total, "num_problems": len(problems),
    }  # fmt: skip


def spread_out(problems: dict[tuple, dict[int, list[dict]]]) -> list[tuple]:
    """The problems, every task and difficulty in turn, those that most settings have first."""
    cells: dict[tuple, list[tuple]] = {}
    for key in sorted(problems, key=lambda key: -len(problems[key])):
        one = next(iter(problems[key].values()))[0]
        cells.setdefault((key[0], one["difficulty"] or 0), []).append(key)
    turns = max(map(len, cells.values()), default=0)
    return [cells[cell][i] for i in range(turns) for cell in sorted(cells) if i < len(cells[cell])]


def as_problem(by_setting: dict[int, list[dict]]) -> dict:
    """A problem for the page; `right` maps a setting to its samples that are right and those that were judged."""
    one = next(iter(by_setting.values()))[0]
    right = {}
    for setting, rows in by_setting.items():
        status = [row["status"] for row in rows if not row.get("probed")]
        right[setting] = [status.count("correct"), len(status) - status.count("verifier_error")]
    return {
        "task": visible(one["task"]), "prompt": visible(prompt_text(one)), "answer": visible(one["answer"]),
        "difficulty": one["difficulty"], "right": right,
    }  # fmt: skip


def is_probed(row: dict) -> bool:
    return bool(row.get("steps") or row.get("memory"))


def as_sample(row: dict) -> list:
    """[verdict, thinking tokens, answer tokens, how it ended, style, completion, reason, steps, memory] of a sample."""
    steps = None
    if row.get("steps"):
        failed = failure_point(row)
        steps = [
            [
                visible(step["text"]),
                None if gain is None else round(gain, 4),
                round(float(step["value"]), 4),
                i == failed,
            ]
            for i, (step, gain) in enumerate(zip(row["steps"], marginal_values(row), strict=True))
        ]
    cause = row.get("stop_cause") or ("natural" if row["finished"] else "length")
    return [
        STATUS.index(row["status"]), row["thinking_tokens"], row["answer_tokens"], visible(cause),
        visible(row.get("style") or ""), visible(row["completion"]), visible(row.get("reason") or ""), steps,
        row.get("memory") and as_memory(row["memory"]),
    ]  # fmt: skip


def as_memory(memory: dict) -> list:
    """[window, places, prompt tokens, texts of tokens, layers] of what a B'MOJO kept; see value_data.

    Of a long text the tokens in the middle are empty, but for the first of them, which counts them.
    """
    tokens, half = [visible(token) for token in memory["tokens"]], MAX_TOKENS // 2
    if (over := len(tokens) - MAX_TOKENS) > 0:
        tokens[half:-half] = [f"\n[... {over:,} tokens left out ...]\n", *[""] * (over - 1)]
    return [memory["window"], memory["size"], memory["num_prompt"], tokens, memory["layers"]]


def telling(problems: list[dict], with_steps: set[int]) -> int:
    """The problem to open with: where settings differ most, of those with the values of steps if there are any."""
    return max(range(len(problems)), key=lambda i: (i in with_steps, differ(problems[i]["right"].values())), default=0)


def differ(counts: Iterable[tuple[int, int]]) -> float:
    """How much settings differ in their share of right samples, from (right, judged) of each: the sum of squares."""
    shares = [right / judged for right, judged in counts if judged]
    middle = sum(shares) / len(shares) if shares else 0.0
    return sum((share - middle) ** 2 for share in shares)


def most_telling(samples: list[dict], num_problems: int) -> set[str]:
    """Keys of the problems on which the records of `samples` differ most in their share of right ones."""
    counts: dict[str, dict[tuple, list[int]]] = {}
    for row in samples:
        cell = counts.setdefault(problem_key(row), {}).setdefault(key_of(row), [0, 0])
        cell[0] += row["status"] == "correct"
        cell[1] += row["status"] != "verifier_error"
    return set(sorted(counts, key=lambda key: -differ(counts[key].values()))[:num_problems])
