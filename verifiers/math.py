r"""Mathematics: grades the final answer of a completion against a gold answer.

The final answer is what follows the last `####` on its line, or the last `\boxed{}` if that stands further down. It
counts only when it ends the completion and thinking is closed. Equal strings and equal numbers are decided here; all
else by math-verify (https://github.com/huggingface/Math-Verify) in a worker process, because some inputs keep
computer algebra busy for ever and its timeouts need a main thread. The worker ends with the process that uses it.

What this does not cover: where the prompt itself opens thinking, a completion that never closes it looks like one
without thinking; math-verify ignores units, `10 km` is `10 m`, and takes `10\%` for 10 as for 0.1.
"""

import re
from fractions import Fraction

from ._math_worker import WorkerError, grade
from .verdict import Verdict

THINK_START, THINK_END = "<think>", "</think>"
# Characters after the answer: "I hope this helps!" passes, noise up to the length limit does not. A box may stand in
# the middle of the last sentence.
MAX_TAIL, MAX_TAIL_BOX = 40, 200
# Of an answer, in characters and nested brackets. The gold answers of MATH have at most 159 and 3; the time that
# parsing takes grows by half with each further brace.
MAX_LENGTH, MAX_DEPTH = 1000, 10

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+"
_DECIMAL = re.compile(rf"([-+]?)({_NUMBER})")
_FRACTION = re.compile(r"([-+]?)(?:(\d+)\s*/\s*(\d+)|\\[dt]?frac\{(\d+)\}\{(\d+)\})")
_WITH_UNIT = re.compile(rf"([-+]?(?:{_NUMBER}))\s+[A-Za-z]{{2,}}[A-Za-z ]*")
_NOT_A_UNIT = re.compile(r"hundred|thousand|million|billion|trillion|dozen|percent|pct|half|pi\b|or\b|and\b", re.I)
_HUGE_POWER = re.compile(r"(?:\^|\*\*|\d[eE])[\s{(+-]*(?:0*[1-9]\d{4,}|[\d.]+[\s)]*(?:\^|\*\*))|\d{5,}[\s)}]*!|!\s*!")
_UNEVALUATED = re.compile(
    r"\d[\s)}]*(?:[-+*×·÷]|\\(?:times|cdot|div)(?![a-z]))(?!\s*10\s*\^)[\s({]*(?:\\[a-z]+[\s{]*)?\d"
)


def verify_math(completion: str, gold: str) -> Verdict:
    r"""Grade one completion; `gold` is an answer by itself, in plain text or LaTeX.

    An answer out of bounds (length, depth, powers) is incorrect at once. Where `gold` is a number, a sum or a
    product that has its value is incorrect: working it out is part of the task. Never raises for a strange
    completion: what the worker cannot decide in time is a verifier_error.

    >>> verify_math("6 * 7 = 42\n#### 42", "42").status
    'correct'
    """
    answer, reason = extract_answer(completion)
    if answer is None:
        return Verdict.incorrect(reason)
    answer, gold = _clean(answer), _clean(gold)
    if not gold:
        return Verdict.verifier_error("the gold answer is empty")
    if answer == gold:
        return Verdict.correct()
    reason = _refusal(answer)
    if reason:
        return Verdict.incorrect(reason)
    wrong = Verdict.incorrect(f"answered {answer[:40]!r}, not {gold[:40]!r}")
    expected, given = _rational(gold), _rational(answer)
    if expected is not None:
        if not _worked_out(answer, expected):
            return Verdict.incorrect(f"{answer[:40]!r} is not worked out")
        if given is not None and (given == expected or not _may_be_rounded(given, expected)):
            return Verdict.correct() if given == expected else wrong
    try:
        return Verdict.correct() if grade(answer, gold) else wrong
    except WorkerError as error:
        return Verdict.verifier_error(str(error))


def verify_math_batch(completions: list[str], golds: list[str]) -> list[Verdict]:
    """`verify_math` of each pair. Raises ValueError when the lists differ in length."""
    return [verify_math(completion, gold) for completion, gold in zip(completions, golds, strict=True)]


def extract_answer(completion: str) -> tuple[str | None, str]:
    """The final answer of a completion, or None and the reason why there is none."""
    text = completion.rpartition(THINK_END)[2]
    if THINK_START in text:
        return None, "thinking never closed"
    hashes, box = text.rfind("####"), text.rfind("\\boxed{")
    if max(hashes, box) < 0:
        return None, "no answer after #### or in \\boxed{}"
    if box > hashes:
        start = box + len("\\boxed{")
        end = _closing_brace(text, start)
        if end is None:
            return None, "the last \\boxed{ never closes"
        answer, tail, max_tail = text[start:end], text[end + 1 :], MAX_TAIL_BOX
    else:
        answer, _, tail = text[hashes + 4 :].partition("\n")
        max_tail = MAX_TAIL
    if len(tail.strip()) > max_tail:
        return None, "text goes on after the answer"
    return (answer, "") if answer.strip() else (None, "the answer is empty")


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for brace in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return start + brace.start()
    return None


def _clean(answer: str) -> str:
    """Without the marks of money, emphasis and mathematics mode around it."""
    answer = answer.replace("\\$", "").replace("−", "-").replace("{,}", ",").replace("\\!", "").strip()
    if answer.startswith(("\\(", "\\[")) and answer.endswith(("\\)", "\\]")):
        answer = answer[2:-2]
    return re.sub(r"^([-+]?)[$€£]\s*", r"\1", answer.strip(" *`_")).rstrip(" *`_$€£.,")


def _refusal(answer: str) -> str:
    """Why an answer is wrong without a closer look; empty when it is fit for grading."""
    if len(answer) > MAX_LENGTH:
        return "the answer is too long"
    if _HUGE_POWER.search(answer):
        return "the answer holds too large a power"
    depth = braces = 0
    for bracket in re.findall(r"\\.|[][(){}]", answer):
        depth += (bracket in "([{") - (bracket in ")]}")
        braces += (bracket == "{") - (bracket == "}")
        if braces < 0 or depth > MAX_DEPTH:
            break
    if depth > MAX_DEPTH:
        return "the answer is nested too deeply"
    return "the braces of the answer do not match" if braces else ""


def _rational(text: str) -> Fraction | None:
    """The exact value of a decimal or a fraction, with or without thousands separators and a unit in words."""
    with_unit = _WITH_UNIT.fullmatch(text)
    if with_unit and not _NOT_A_UNIT.search(text):
        text = with_unit[1]
    if len(text) <= MAX_LENGTH and (match := _DECIMAL.fullmatch(text)):
        return Fraction(match[1] + match[2].replace(",", ""))
    if len(text) <= MAX_LENGTH and (match := _FRACTION.fullmatch(text)):
        numerator, denominator = int(match[2] or match[4]), int(match[3] or match[5])
        return Fraction(-numerator if match[1] == "-" else numerator, denominator) if denominator else None
    return None


def _worked_out(answer: str, expected: Fraction) -> bool:
    """Whether a number stands there rather than a sum or a product, or, for a whole number, a fraction."""
    value = answer.rpartition("=")[2]
    if expected.denominator == 1:
        value = re.sub(r"/|\}\s*\{", "*", value)
    return not _UNEVALUATED.search(value)


def _may_be_rounded(given: Fraction, expected: Fraction) -> bool:
    whole = given.denominator == expected.denominator == 1
    return not whole and abs(given - expected) <= abs(expected) / 10_000
