r"""Mathematics: grades the final answer of a completion against a gold answer.

`verify_math` takes the answer out of the completion, refuses what is out of bounds, decides equal strings and equal
numbers itself, and asks math-verify (https://github.com/huggingface/Math-Verify) about the rest, in worker processes
that can be killed: some inputs keep computer algebra busy for ever, and its own time limits need a main thread. A
`MathPolicy` says what counts as the answer and as equal. What is accepted, and what is not, is in
docs/math_verification.md.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args, get_type_hints

from . import _math_forms as forms
from ._math_pool import Options, Pairs, Question, WorkerError, grade
from .verdict import Verdict

MAX_PARTS = 30  # of a list, whose parts are matched one by one

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BETWEEN_BOXES = re.compile(r"[\s$,;]*(?:\\text\s*\{\s*and\s*\}|and)?[\s$,;]*")
_LAST_NUMBER = re.compile(rf"(?:(?<![\w)])[-+])?\s?\$?(?:{forms.NUMBER})(?:\s*/\s*\d+)?(?:\s*\\?%)?", re.ASCII)
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)")
_TEXT_LANGUAGES = frozenset(["latex", "tex", "math", "text", "txt", "markdown", "md"])
_COMMENT = re.compile(r"[ \t]*(?:%|//)|(?: {4,}|\t)[ \t]*#")
_OR = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[\s,]*(?:or|and)[\s,]*\}|\s(?:or|and)\s")
_MEMBER = re.compile(r"[A-Za-z]\s*(?:\\in(?![A-Za-z])|∈)\s*")


@dataclass(frozen=True)
class MathPolicy:
    r"""What counts as the answer, and what as equal to the gold answer.

    Attributes:
        answer_in: where the answer stands. "mark": after the last `####`, or in the last `\boxed{}` if that stands
            further down; "box", "hashes": one of them alone; "number": the last number of the text.
        boxes: "last": the last box is the whole answer; "joined": boxes with nothing but commas and "and" between them
            are a list.
        thinking: "optional": the text after the last `think_end`, or all of it; "opened_by_prompt": a completion
            without `think_end` holds no answer; "none": the marks of thinking mean nothing.
        max_tail, max_tail_box: characters that may follow the answer and its line, or the box; None: any number. A
            policy that is trained with an entropy bonus would otherwise be paid for noise after the answer.
        units: "agree": two units must be the same, and either may be missing; "required": the gold answer's unit may
            not be missing; "ignore".
        percent: "value": 10 % is 0.1; "sign_optional": 10 % also stands for the gold answer 10; "ignore": the sign
            never counts.
        brackets: "strict": (1, 2), [1, 2] and {1, 2} differ; "ignore": as math-verify has it.
        intervals: "as_written", or "or_inequality": 1 < x < 2 stands for (1, 2).
        rounding: a decimal with at least so many places stands for a number that is no finite decimal; None: never.
        seconds: CPU time of one question to math-verify; after it, the completion is a verifier_error.
    """

    answer_in: Literal["mark", "box", "hashes", "number"] = "mark"
    boxes: Literal["last", "joined"] = "last"
    thinking: Literal["optional", "opened_by_prompt", "none"] = "optional"
    think_start: str = "<think>"
    think_end: str = "</think>"
    max_tail: int | None = 40
    max_tail_box: int | None = 200
    units: Literal["agree", "required", "ignore"] = "agree"
    percent: Literal["value", "sign_optional", "ignore"] = "value"
    brackets: Literal["strict", "ignore"] = "strict"
    intervals: Literal["as_written", "or_inequality"] = "as_written"
    rounding: int | None = 6
    seconds: float = 2.0

    def __post_init__(self):
        for name, hint in get_type_hints(type(self)).items():
            choices = get_args(hint)
            value = getattr(self, name)
            if choices and isinstance(choices[0], str) and value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        if not 0 < self.seconds <= 60:
            raise ValueError(f"seconds must be above 0 and at most 60, not {self.seconds}")
        if self.rounding is not None and not 1 <= self.rounding <= 15:
            raise ValueError(f"rounding must be None or 1 to 15 places, not {self.rounding}")
        if not self.think_start or not self.think_end:
            raise ValueError("think_start and think_end must not be empty")

    @property
    def options(self) -> Options:
        inequality = self.intervals == "or_inequality"
        return (("seconds", self.seconds), ("rounding", self.rounding or 15), ("inequality", inequality))


DEFAULT = MathPolicy()


def verify_math(completion: str, gold: str, policy: MathPolicy = DEFAULT) -> Verdict:
    r"""Grade one completion; `gold` is an answer by itself, in plain text or LaTeX.

    An answer out of bounds (length, depth, powers) is incorrect at once. Where `gold` is a number, a sum or a
    product that has its value is incorrect: working it out is part of the task. Never raises for a strange
    completion: what math-verify cannot decide in time is a verifier_error.

    >>> verify_math("6 * 7 = 42\n#### 42", "42").status
    'correct'
    """
    return verify_math_batch([completion], [gold], policy)[0]


def verify_math_batch(completions: list[str], golds: list[str], policy: MathPolicy = DEFAULT) -> list[Verdict]:
    """`verify_math` of each pair, on several workers. Raises ValueError when the lists differ in length."""
    outcomes = [decide(completion, gold, policy) for completion, gold in zip(completions, golds, strict=True)]
    questions = {i: (outcome, policy.options) for i, outcome in enumerate(outcomes) if not isinstance(outcome, Verdict)}
    decisions = grade(list(questions.values())) if questions else {}
    return [
        _verdict(decisions[questions[i]], questions[i]) if i in questions else outcome
        for i, outcome in enumerate(outcomes)
    ]


def _verdict(decision: bool | WorkerError, question: Question) -> Verdict:
    if isinstance(decision, WorkerError):
        return Verdict.verifier_error(str(decision))
    if decision:
        return Verdict.correct()
    answers, golds = zip(*question[0], strict=True)
    return Verdict.incorrect(_wrong(", ".join(answers), ", ".join(golds)))


def _wrong(answer: str, gold: str) -> str:
    return f"answered {answer[:40]!r}, not {gold[:40]!r}"


# Where the answer stands ----------------------------------------------------------------------------------------------


def extract_answer(completion: str, policy: MathPolicy = DEFAULT) -> tuple[str | None, str]:
    """The final answer of a completion, or None and the reason why there is none. Linear in its length."""
    text = completion
    if policy.thinking != "none":
        _, ended, text = completion.rpartition(policy.think_end)
        if policy.think_start in text or (policy.thinking == "opened_by_prompt" and not ended):
            return None, "thinking never closed"
    visible = without_code(text)
    if policy.answer_in == "number":
        return _last_number(visible, text, policy)
    hashes = visible.rfind("####") if policy.answer_in != "box" else -1
    boxes = list(_BOX.finditer(visible)) if policy.answer_in != "hashes" else []
    if hashes < 0 and not boxes:
        marks = {"mark": "after #### or in \\boxed{}", "box": "in \\boxed{}", "hashes": "after ####"}
        return None, f"no answer {marks[policy.answer_in]}"
    if boxes and boxes[-1].start() > hashes:
        answer, end = _boxed(visible, boxes, policy)
        if answer is None:
            return None, "the last \\boxed{ never closes"
        max_tail = policy.max_tail_box
    else:
        end = visible.find("\n", hashes)
        end = len(text) if end < 0 else end
        answer, max_tail = visible[hashes + 4 : end], policy.max_tail
    if max_tail is not None and len(text[end:].strip()) > max_tail:
        return None, "text goes on after the answer"
    return (answer, "") if answer.strip() else (None, "the answer is empty")


def _last_number(visible: str, text: str, policy: MathPolicy) -> tuple[str | None, str]:
    last = None
    for last in _LAST_NUMBER.finditer(visible):  # noqa: B007
        pass
    if last is None:
        return None, "no number"
    if policy.max_tail is not None and len(text[last.end() :].strip()) > policy.max_tail:
        return None, "text goes on after the answer"
    return last[0], ""


def _boxed(text: str, boxes: list[re.Match], policy: MathPolicy) -> tuple[str | None, int]:
    """What the last box holds, or the boxes joined to it, and where it ends."""
    last = boxes[-1]
    end = _closing_brace(text, last.end())
    if end is None:
        return None, 0
    contents, next_start = [text[last.end() : end]], last.start()
    if policy.boxes == "joined":
        for box in reversed(boxes[-MAX_PARTS:-1]):
            closing = _closing_brace(text, box.end())
            if closing is None or not _BETWEEN_BOXES.fullmatch(text, closing + 1, next_start):
                break
            contents.insert(0, text[box.end() : closing])
            next_start = box.start()
    return ", ".join(contents), end + 1


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for brace in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.start()
    return None


def without_code(text: str) -> str:
    """The text with code blocks and comments blanked, at the same length: an answer in them is not an answer."""
    if not any(mark in text for mark in ("```", "~~~", "%", "//", "#", "<!--")):
        return text
    lines, fence, is_code = [], "", False
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if match and not fence:
            fence, is_code = match[1], match[2].lower() not in _TEXT_LANGUAGES
            line = " " * len(line)
        elif match and match[1].startswith(fence) and not match[2]:
            fence, is_code, line = "", False, " " * len(line)
        elif is_code or _COMMENT.match(line):
            line = " " * len(line)
        lines.append(line)
    text = "\n".join(lines)
    start = text.find("<!--")
    while start >= 0:
        end = text.find("-->", start)
        end = len(text) if end < 0 else end + 3
        text = text[:start] + " " * (end - start) + text[end:]
        start = text.find("<!--", end)
    return text


# Whether it is right --------------------------------------------------------------------------------------------------


def decide(completion: str, gold: str, policy: MathPolicy = DEFAULT) -> Verdict | Pairs:
    """The verdict, or the pairs that math-verify has to find equal."""
    answer, reason = extract_answer(completion, policy)
    if answer is None:
        return Verdict.incorrect(reason)
    if answer.strip() == gold.strip() != "":
        return Verdict.correct()
    if len(answer) > 4 * forms.MAX_LENGTH:
        return Verdict.incorrect("the answer is too long")
    answer, gold = forms.clean(answer), forms.clean(gold)
    if not gold:
        return Verdict.verifier_error("the gold answer is empty")
    if answer == gold:
        return Verdict.correct()
    if reason := forms.refusal(answer):
        return Verdict.incorrect(reason)
    if forms.refusal(gold):
        return Verdict.verifier_error(f"the gold answer is out of bounds: {gold[:40]!r}")
    outcome = settle(answer, gold, policy)
    if isinstance(outcome, str):
        return Verdict.incorrect(outcome)
    return outcome or Verdict.correct()


def settle(answer: str, gold: str, policy: MathPolicy) -> str | Pairs:
    """Compare two cleaned answers: () when they are equal, the pairs to ask about, or why the answer is wrong."""
    wrong = _wrong(answer, gold)
    if forms.canonical(answer) == forms.canonical(gold):
        return ()
    if (words := forms.words_of(gold)) is not None:
        return () if forms.bare_words(answer) == words else wrong
    answer, gold = _OR.sub(", ", answer), _OR.sub(", ", gold)
    value = _right_side(answer, gold)
    if value is None:
        return "a number stands left of the sign of equality"
    answer, gold = _MEMBER.sub("", value, 1), _without_name(_MEMBER.sub("", gold, 1), value)
    if (forms.in_base(answer) or forms.in_base(gold)) and forms.in_base(answer) != forms.in_base(gold):
        return wrong
    given, expected = forms.quantity(answer), forms.quantity(gold)
    if policy.units != "ignore" and not forms.units_agree(given.unit, expected.unit):
        return wrong
    if policy.units == "required" and expected.unit and not given.unit:
        return "the answer has no unit"
    (answer, given_percent), (gold, expected_percent) = forms.percent(given.value), forms.percent(expected.value)
    expected_number, given_number = forms.rational(gold), forms.rational(answer)
    of_one = Fraction(1, 100 if expected_percent and not given_percent else 1)
    if expected_number is not None and not forms.worked_out(answer, expected_number * of_one):
        return f"{answer[:40]!r} is not worked out"
    of_hundred = _of_hundred(given_percent, expected_percent, policy)
    if expected_number is not None and given_number is not None:
        numbers = [given_number * given.scale * factor for factor in of_hundred]
        expected_number *= expected.scale
        equal = any(number == expected_number or _rounds(answer, number, expected_number, policy) for number in numbers)
        return () if equal else wrong
    if given.scale != expected.scale:
        return wrong
    answer, gold = forms.exactly(answer, given_number), forms.exactly(gold, expected_number)
    if of_hundred == (Fraction(1, 100),):
        answer = rf"\frac{{{answer}}}{{100}}"
    elif of_hundred == (Fraction(100),):
        gold = rf"\frac{{{gold}}}{{100}}"
    if (parts := _settle_parts(answer, gold, policy)) is not None:
        return wrong if parts == "" else parts
    if forms.strange_signs(answer) and not forms.strange_signs(gold):
        return f"cannot read {forms.strange_signs(answer)[:10]!r} in the answer"
    if set(forms.texts(answer)) - set(forms.texts(gold)):
        return wrong
    return forms.unfinished(answer, gold) or ((answer, gold),)


def _right_side(answer: str, gold: str) -> str | None:
    """`72` of `x = 72` where the gold answer is no equation. None where a number stands on the left: `3 = 3`."""
    sides = forms.sides(answer)
    if len(sides) == 1 or len(forms.sides(gold)) > 1 or len(forms.split_at_commas(answer) or []) > 1:
        return answer
    if len(sides) == 2 and re.fullmatch(r"[A-Za-z]", sides[1]):
        return sides[0]
    return None if any(forms.rational(side) is not None for side in sides[:-1]) else sides[-1]


def _without_name(gold: str, answer: str) -> str:
    """`72` of the gold answer `x = 72` where the answer is no equation, or one with the same name."""
    sides = forms.sides(gold)
    single = len(sides) == 2 and re.fullmatch(r"[A-Za-z](?:\([a-z]\))?", sides[0]) and "=" not in answer
    return sides[1] if single and "," not in gold else gold


def _of_hundred(given: bool, expected: bool, policy: MathPolicy) -> tuple[Fraction, ...]:
    """What the answer may be multiplied with before it is compared."""
    if given == expected or policy.percent == "ignore":
        return (Fraction(1),)
    if expected:
        return (Fraction(100),)
    return (Fraction(1), Fraction(1, 100)) if policy.percent == "sign_optional" else (Fraction(1, 100),)


def _rounds(text: str, given: Fraction, expected: Fraction, policy: MathPolicy) -> bool:
    """Whether a decimal is a number that no decimal writes, cut off or rounded at its last place."""
    places = len(text.partition(".")[2])
    if policy.rounding is None or not text.replace(",", "").lstrip("+-").replace(".", "", 1).isdigit():
        return False
    denominator = expected.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator > 1 and places >= policy.rounding and abs(given - expected) < Fraction(1, 10**places)


def _settle_parts(answer: str, gold: str, policy: MathPolicy) -> str | Pairs | None:
    """The same as `settle` for lists, points and intervals; "" for a wrong one, None where neither is one."""
    given_pair, given = forms.brackets(answer)
    pair, expected = forms.brackets(gold)
    if len(given) == len(expected) == 1:
        return None
    if policy.brackets == "ignore" and given_pair != pair:
        return ((answer, gold),)
    if len(given) != len(expected) or given_pair != pair:
        inequality = len(forms.sides(answer)) == 1 and re.search(r"[<>≤≥]|\\(?:le|ge|lt|gt)", answer)
        if policy.intervals == "or_inequality" and inequality and len(expected) == 2:
            return ((answer, gold),)
        return ((answer, gold),) if not pair and not given_pair and re.search(r"\\[pm]{2}|±", answer + gold) else ""
    if pair:  # in order
        outcomes = [settle(one, other, policy) for one, other in zip(given, expected, strict=True)]
        if any(isinstance(outcome, str) for outcome in outcomes):
            return ""
        return tuple(pair for outcome in outcomes for pair in outcome)
    if len(given) > MAX_PARTS:
        return () if sorted(map(forms.canonical, given)) == sorted(map(forms.canonical, expected)) else ""
    rest = list(expected)
    for one in given:
        outcomes = {other: settle(one, other, policy) for other in rest}
        equal = next((other for other, outcome in outcomes.items() if outcome == ()), None)
        if equal is None:
            asked = any(not isinstance(outcome, str) for outcome in outcomes.values())
            return ((answer, gold),) if asked else ""
        rest.remove(equal)
    return ()
