r"""What an answer says, as far as that can be told without computer algebra: numbers, units, words, brackets.

Every function takes an answer that `clean` went over and is linear, or nearly so, in a length of at most MAX_LENGTH.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

# Of an answer, in characters and nested brackets. The gold answers of MATH have at most 159 and 3; the time that
# parsing takes grows by half with each further brace.
MAX_LENGTH, MAX_DEPTH = 1000, 8
MAX_POWER = 10_000  # product of nested exponents and factorials; also of what stands in a binomial
# Beyond those of the gold answer: computer algebra would multiply them out.
MAX_GROWTH, MAX_EXTRA = 10, 40  # characters: so many times those of the gold answer, and so many more
MAX_POWERS = {True: 12, False: 50}  # of a bracket, of a letter; unless the gold answer has a power of MIN_POWER
MIN_POWER = 5

_INTEGER = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
NUMBER = rf"(?:{_INTEGER}(?:\.\d*)?|\.\d+)"
_ARGUMENT = r"\s*(?:\{\s*([-+]?\d+)\s*\}|(\d))"
_FRAC = rf"\\frac{_ARGUMENT}{_ARGUMENT}"


def _regex(pattern: str, flags: int = 0) -> re.Pattern:
    return re.compile(pattern, re.ASCII | flags)


_DECIMAL = _regex(NUMBER)
_SCIENTIFIC = _regex(
    rf"({NUMBER})(?:\s*(?:\\times|\\cdot|[*×·])\s*10\s*(?:\^|\*\*)\s*(?:\{{\s*([-+]?\d{{1,4}})\s*\}}|\(([-+]?\d{{1,4}})\)|([-+]?\d{{1,4}}))|[eE]([-+]?\d{{1,3}}))"
)
_SLASH = _regex(rf"(?:(\d+)\s+)?({_INTEGER})\s*/\s*({_INTEGER})")
_MIXED = _regex(rf"(\d+)?\s*{_FRAC}")
_TEXT = r"\\(?:text|textrm|textbf|textit|textnormal|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}"
_IN_TEXT = _regex(_TEXT)
_UNIT_IN_TEXT = _regex(rf"(.*[\w)}}\]%])(?:\\[,;: ]|[~\s])*{_TEXT}\s*(?:\^\s*\{{?\s*([23])\s*\}}?)?", re.DOTALL)
_UNIT_IN_WORDS = _regex(rf"([-+]?{NUMBER}(?:\s*/\s*\d+)?)\s+([A-Za-z][A-Za-z/ ]*?)\s*(?:\^\s*\{{?\s*([23])\s*\}}?)?")
_UNIT_ATTACHED = _regex(rf"([-+]?{NUMBER})([A-Za-z]{{2,}})(?:\^\{{?([23])\}}?)?")
_DEGREES = _regex(r"(.*?)\s*(?:\^\s*(?:\{\s*)?\\circ\s*(?:\}\s*)?|\\degree)|(.*?)\s*°", re.DOTALL)
_MONEY = _regex(r"([-+]?)\s*([$€£¥])\s*(.+)", re.DOTALL)
_PERCENT = _regex(r"(.*?)\s*(?:\\?%|\bpercent|\bpct)", re.DOTALL | re.I)
_BASE = _regex(r"([0-9A-Za-z]+)\s*_\s*\{?\s*(?:\\text\s*\{)?\s*\(?(\d{1,2}|two|three|eight|ten|sixteen)\)?\s*\}?\s*\}?")
_WORDS = re.compile(r"[^\W\d_]+(?:[ '’-]+[^\W\d_]+)*")
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_NOT_A_UNIT = _regex(r"\b(?:half|third|quarter|halves|pi|or|and|not|to|plus|minus|times|over|by)\b", re.I)
_FUNCTIONS = _regex(r"sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|infty|frac|mod|max|min|det", re.I)
_UNEVALUATED = _regex(
    r"\d[\s)}]*(?:[-+*×·÷]|\\(?:times|cdot|div)(?![a-z]))(?!\s*10\s*(?:\^|\*\*))[\s({]*(?:\\[a-z]+[\s{]*)?\d"
)
_EXPONENT = _regex(r"(.?)\s*(?:\^|\*\*)\s*[{(]?\s*[-+]?(\d[\d.]*)")
_SYMBOLIC_POWER = _regex(r"([A-Za-z)}\]])\s*(?:\^|\*\*)\s*[{(]?\s*[-+]?(\d+)")
_BINOMIAL = _regex(r"\\binom([^A-Za-z]*)")
_OPERATION = _regex(r"\\(i*int|oint|sum|prod|lim|det|Gamma|binom)(?![A-Za-z])")
_FACTORIAL = _regex(r"(\d*)[\s)}]*!(\s*[)}]*\s*!)?")
_TOWER = _regex(r"(?:\^|\*\*)[\s{(+-]*[\d.]+[\s)]*(?:\^|\*\*|!)|\d[eE]\s*[+-]?\s*0*[1-9]\d{3,}")
_KNOWN_SIGNS = frozenset("−×·÷±∓√πθ°∞≤≥≠∪∩∈∅αβγδλμφω€£¥½⅓¼⅔¾²³’“”–—")

_UNITS = {
    name: unit
    for unit, names in {
        "mm": "millimeter millimetre mm", "cm": "centimeter centimetre cm", "m": "meter metre m",
        "km": "kilometer kilometre km", "inch": "inch inches in", "foot": "foot feet ft", "yard": "yard yd",
        "mile": "mile mi", "mg": "milligram mg", "g": "gram gramme g", "kg": "kilogram kilogramme kg kilo",
        "oz": "ounce oz", "lb": "pound lb lbs", "ton": "ton tonne", "ml": "milliliter millilitre ml",
        "l": "liter litre l", "gallon": "gallon gal", "second": "second sec s", "minute": "minute min",
        "hour": "hour hr h", "day": "day", "week": "week", "month": "month", "year": "year yr",
        "cent": "cent ¢", "dollar": "dollar usd $", "euro": "euro eur €", "gbp": "gbp £", "yen": "yen ¥",
        "degree": "degree deg °", "radian": "radian rad", "mph": "mph", "kph": "kph", "unit": "unit",
    }.items()
    for name in names.split()
}  # fmt: skip
_BASES = {"two": 2, "three": 3, "eight": 8, "ten": 10, "sixteen": 16}
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def clean(answer: str) -> str:
    r"""Without emphasis, mathematics mode and spaces around it, and with one way to write a few things.

    `\$5` and `$5` keep their sign of money; `\left(` becomes `(`, `\dfrac` becomes `\frac`, `1{,}000` becomes `1,000`.
    """
    answer = answer.replace("−", "-").replace("{,}", ",").replace("\\!", "")
    answer = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", answer)
    answer = re.sub(r"\\(?:left|right)(?![A-Za-z.])\s*|\\displaystyle(?![A-Za-z])", "", answer)
    answer = _trim(answer)
    if len(answer) > 4 and answer.startswith(("\\(", "\\[")) and answer.endswith(("\\)", "\\]")):
        answer = answer[2:-2]
    elif len(answer) > 2 and answer.startswith("$") and answer.endswith("$") and not answer.endswith("\\$"):
        answer = re.sub(r"(?<!\\)\$", "", answer)
    return _trim(answer.replace("\\$", "$")).rstrip("$").rstrip()


def _trim(text: str) -> str:
    text = text.strip(" \t\n\r*`_")
    while (shorter := text.rstrip(".,;:*`_~ \t\n\r")) != text or shorter.endswith("\\"):
        text = shorter.removesuffix("\\") if not shorter.endswith("\\\\") else shorter
        if shorter.endswith("\\\\"):
            break
    return text


def canonical(text: str) -> str:
    """One spelling for answers that differ in spaces alone. A space between two digits or letters stays."""
    text = re.sub(r"\\[,;: ]|~", " ", text)
    return re.sub(r"(?<!\w)\s+|\s+(?!\w)", "", text)


def refusal(answer: str) -> str:
    """Why an answer is wrong without a closer look; empty when it is fit for grading."""
    if len(answer) > MAX_LENGTH:
        return "the answer is too long"
    if _power(answer) > MAX_POWER:
        return "the answer holds too large a power"
    depth = braces = 0
    for bracket in re.findall(r"\\.|[][(){}]", answer, re.DOTALL):
        depth += (bracket in "([{") - (bracket in ")]}")
        braces += (bracket == "{") - (bracket == "}")
        if braces < 0 or depth > MAX_DEPTH:
            break
    if depth > MAX_DEPTH:
        return "the answer is nested too deeply"
    return "the braces of the answer do not match" if braces else ""


def _power(answer: str) -> float:
    """A bound of the largest exponent or factorial, with those of what stands in brackets multiplied."""
    if _TOWER.search(answer):
        return float("inf")
    largest, product = 1.0, 1.0
    for base, digits in _EXPONENT.findall(answer):
        exponent = float(digits.rstrip(".").replace("..", ".") if digits.count(".") < 2 else "inf")
        if base in ")}]":
            product *= max(1.0, exponent)
        else:
            largest = max(largest, exponent)
    for arguments in _BINOMIAL.findall(answer):
        largest = max(largest, *(float(digits) for digits in re.findall(r"\d+", arguments)), 1.0)
    for digits, second in _FACTORIAL.findall(answer) if "!" in answer else ():
        if second:
            return float("inf")
        product *= max(1.0, float(digits or 100))
    return largest * product


def rational(text: str) -> Fraction | None:
    r"""The exact value of a decimal, a fraction, a mixed number or a number times a power of ten."""
    if len(text) > MAX_LENGTH:
        return None
    text = text.strip()
    sign = -1 if text.startswith("-") else 1
    text = text[1:].strip() if text[:1] in ("-", "+") else text
    if _DECIMAL.fullmatch(text):
        return sign * Fraction(text.replace(",", ""))
    if match := _SCIENTIFIC.fullmatch(text):
        exponent = int(next(part for part in match.groups()[1:] if part))
        return sign * Fraction(match[1].replace(",", "")) * Fraction(10) ** exponent
    if match := _SLASH.fullmatch(text):
        whole, numerator, denominator = (int((part or "0").replace(",", "")) for part in match.groups())
    elif match := _MIXED.fullmatch(text):
        whole, numerator = int(match[1] or 0), int(match[2] or match[3])
        denominator = int(match[4] or match[5])
        if match[1] and (numerator < 0 or denominator < 0):
            return None
    else:
        return None
    return sign * (whole + Fraction(numerator, denominator)) if denominator else None


def exactly(text: str, value: Fraction | None) -> str:
    r"""A mixed number or a slash as `\frac`: math-verify takes `1 1/2` for 1 and 1/2. Other texts stay as they are."""
    if value is None or value.denominator == 1 or not _SLASH.fullmatch(text.strip().lstrip("+-").strip()):
        return text
    return rf"{'-' if value < 0 else ''}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def percent(text: str) -> tuple[str, bool]:
    """A text without the sign of percent at its end, and whether there was one."""
    match = _PERCENT.fullmatch(text)
    return (match[1], True) if match and match[1] else (text, False)


def in_base(text: str) -> tuple[str, int] | None:
    """Digits and base of a number such as `101_2`."""
    match = _BASE.fullmatch(text)
    if match is None or not match[1][0].isalnum() or (match[1].isalpha() and len(match[1]) < 2):
        return None
    return match[1].upper(), _BASES.get(match[2]) or int(match[2])


def worked_out(answer: str, expected: Fraction) -> bool:
    """Whether a number stands there rather than a sum or a product, or, for a whole number, a fraction."""
    value = answer.rpartition("=")[2]
    if expected.denominator == 1:
        value = re.sub(r"/|\}\s*\{", "*", value)
    return not _UNEVALUATED.search(value)


def unfinished(answer: str, gold: str) -> str:
    """What an answer leaves to be worked out, or piles up, that its gold answer does not; empty when nothing."""
    if len(answer) > MAX_GROWTH * len(gold) + MAX_EXTRA:
        return "the answer is much longer than the gold answer"
    if operations := set(_OPERATION.findall(answer)) - set(_OPERATION.findall(gold)):
        return f"the answer is not worked out: it holds \\{min(operations)}"
    if max((int(power) for _, power in _SYMBOLIC_POWER.findall(gold)), default=0) < MIN_POWER:
        for base, power in _SYMBOLIC_POWER.findall(answer):
            if int(power) > MAX_POWERS[not base.isalpha()]:
                return f"the answer holds a power of {power}"
    return ""


@dataclass(frozen=True)
class Quantity:
    value: str
    unit: tuple[str, ...] = ()  # words, in the singular; empty where none is given
    scale: int = 1  # 10**6 for "2 million"


def quantity(text: str) -> Quantity:
    """A value, its unit and its scale. Words that are no unit stay in the value."""
    scale = 1
    if match := _MONEY.fullmatch(text):
        rest = quantity(match[1] + match[3])
        return Quantity(rest.value, (_UNITS[match[2]],), rest.scale)
    if match := _DEGREES.fullmatch(text):
        value = match[1] or match[2]
        return Quantity(value, ("degree",)) if value else Quantity(text)
    for pattern in (_UNIT_IN_TEXT, _UNIT_IN_WORDS, _UNIT_ATTACHED):
        match = pattern.fullmatch(text)
        if match and (pattern is not _UNIT_ATTACHED or match[2].lower() in _UNITS):
            break
    else:
        return Quantity(text)
    words = match[2].lower().replace(".", " ").split()
    while words and words[0] in _SCALES:
        scale *= _SCALES[words.pop(0)]
    phrase = " ".join(words)
    if re.search(r"[^a-z /°¢'-]", phrase) or _NOT_A_UNIT.search(phrase) or words[:1] in (["percent"], ["pct"]):
        return Quantity(text)
    if scale > 1 and rational(match[1]) is None:
        return Quantity(text)
    if words[:1] == ["square"] or words[:1] == ["sq"]:
        words, power = words[1:], "2"
    elif words[:1] == ["cubic"] or words[:1] == ["cu"]:
        words, power = words[1:], "3"
    else:
        power = match[3]
    return Quantity(match[1].strip(), (*map(_unit, words), *([power] if power else [])), scale)


def _unit(word: str) -> str:
    return _UNITS.get(word) or _UNITS.get(word.removesuffix("s")) or word.removesuffix("s")


def units_agree(answer: tuple[str, ...], gold: tuple[str, ...]) -> bool:
    """Whether two units may be the same: known ones must be, words must share one. No unit agrees with any."""
    if not answer or not gold or answer == gold or "unit" in (answer[0], gold[0]):
        return True
    known = set(_UNITS.values()) | {"2", "3"}
    if set(answer) & known or set(gold) & known:
        return set(answer) & known == set(gold) & known
    return bool(set(answer) & set(gold))


def words_of(text: str) -> str | None:
    r"""The words of an answer that is a name or a choice, `\text{(C)}` and `Evelyn`, in lower case; None for others."""
    marked = _IN_TEXT.fullmatch(text.strip(" ()$."))
    plain = bare_words(text)
    if marked and plain:
        return plain
    long = _WORDS.fullmatch(text) and (len(text) > 3 or " " in text) and not _FUNCTIONS.search(text)
    return plain if long else None


def bare_words(text: str) -> str | None:
    """The same for whatever is given as an answer to it: marks, brackets and an article left out."""
    text = _IN_TEXT.sub(r"\1", text).strip(" (){}[]$.,;:*'\"“”").casefold()
    text = re.sub(r"^(?:an?|the)\s+", "", text)
    return " ".join(text.split()) if _WORDS.fullmatch(text) else None


def brackets(text: str) -> tuple[str, list[str]]:
    r"""The pair of brackets around an answer and its parts between commas: `(1, 2)` is `()`, `["1", "2"]`.

    `\{1,2\}` and `1, 2` both have the pair "". Other texts are one part.
    """
    text = text.strip()
    inner, pair = text, ""
    if text.startswith("\\{") and text.endswith("\\}"):
        inner = text[2:-2]
    elif text.startswith("{") and text.endswith("}"):
        inner = text[1:-1]
    elif text[:1] in ("(", "[") and text[-1:] in (")", "]"):
        inner, pair = text[1:-1], text[0] + text[-1]
    parts = split_at_commas(inner)
    if parts is None or len(parts) < 2:
        parts = split_at_commas(text)
        return "", parts if parts else [text]
    return pair, parts


def split_at_commas(text: str) -> list[str] | None:
    """The parts between commas outside of brackets, or None where brackets do not match."""
    if re.fullmatch(rf"[-+]?{NUMBER}", text.strip(), re.ASCII):
        return [text]
    parts, start, depth = [], 0, 0
    for mark in re.finditer(r"\\[{}]|\\.|[][(){},]", text, re.DOTALL):
        sign = mark[0][-1] if mark[0] in ("\\{", "\\}") else mark[0]
        depth += (sign in _CLOSING) - (sign in _CLOSING.values())
        if depth < 0:
            return None
        if sign == "," and depth == 0:
            parts.append(text[start : mark.start()])
            start = mark.end()
    parts.append(text[start:])
    return [part.strip() for part in parts] if depth == 0 else None


def sides(text: str) -> list[str]:
    """The parts between the signs of equality, `x = 72` gives two; one part for an inequality."""
    if re.search(r"[<>≤≥≠]|!=|==|\\(?:neq?|leq?|geq?|lt|gt|le|ge|approx|equiv|sim)(?![A-Za-z])", text):
        return [text]
    return [part.strip() for part in text.split("=")]


def strange_signs(text: str) -> str:
    """Characters that computer algebra could skip over: letters of other scripts, invisible ones, pictures."""
    return "".join(sorted({sign for sign in text if ord(sign) > 126 or ord(sign) < 32} - _KNOWN_SIGNS - set("\n\t")))


def texts(text: str) -> list[str]:
    r"""What stands in `\text{}`."""
    return [content.strip() for content in _IN_TEXT.findall(text)]
