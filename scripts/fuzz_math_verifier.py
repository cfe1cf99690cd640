r"""Random answers against what is known about them, for as long as one likes; prints each finding, exit code 1.

    python scripts/fuzz_math_verifier.py --minutes 10 --seed 0

- numbers: a random rational in a random form under another: correct exactly when the values are equal;
- algebra: a random expression under an equal form of it (correct), and under it plus something (not correct);
- noise: random pieces of LaTeX as completion and gold answer: never an exception, never slow in this process, and a
  boxed answer equals itself.

A verifier_error is counted, and a finding where a number is concerned.
"""

import argparse
import random
import sys
import time
from fractions import Fraction

PIECES = [
    *"0123456789" * 2, *".,/+-*^_=(){}[]!%$&|<>~:;'\"` \n\txyzabcik", "\\frac", "\\frac{1}{2}", "\\dfrac{",
    "\\sqrt{", "\\sqrt",
    "\\boxed{", "\\boxed{5}", "####", "<think>", "</think>", "```", "<!--", "-->", "\\text{", "\\text{ km}",
    "\\pm", "\\pi",
    "\\infty", "\\left(", "\\right)", "\\left[", "\\{", "\\}", "\\cup", "\\in", "\\le", "\\%", "\\$", "^\\circ",
    "\\times 10^",
    "\\begin{pmatrix}", "\\end{pmatrix}", "\\\\", "\\,", " or ", " and ", " million", " cents", "e", "²", "½", "√",
    "π", "−", "５",
    "🙂", "\u200b", "\x00", "\\sin", "\\log_", "\\binom", "\\int", "\\sum", "x = ", "_2", "10", "100", "1,000",
    "0.5", "}", "}", "{",
]  # fmt: skip


def number_in_some_form(value: Fraction, rng: random.Random) -> str:
    sign, top, bottom = "-" if value < 0 else "", abs(value.numerator), value.denominator
    forms = [f"{sign}\\frac{{{top}}}{{{bottom}}}", f"{sign}\\dfrac{{{top}}}{{{bottom}}}", f"{sign} {top}/{bottom}"]
    whole, rest = divmod(top, bottom)
    if bottom == 1:
        forms = [
            f"{sign}{top}",
            f"{sign}{top:,}",
            f"{sign}{top}.0",
            f"{sign}{top}.",
            f"x = {sign}{top}",
            f"{sign}\\${top}",
        ]
        forms += [
            f"{sign}{top} \\text{{ apples}}",
            f"{sign}{top} apples",
            f"({sign}{top})",
            f"\\left({sign}{top}\\right)",
        ]
        forms += [f"{sign}0{top}", f"{sign}{top}^\\circ", f"{sign}{top}{{,}}000" if 0 < top < 1000 else f"{sign}{top}"]
    elif rest and whole:
        forms += [f"{sign}{whole} {rest}/{bottom}", f"{sign}{whole}\\frac{{{rest}}}{{{bottom}}}"]
    if set(str(bottom)) <= set("10") and bottom > 1:
        places = len(str(bottom)) - 1
        forms += [f"{sign}{whole}.{rest:0{places}d}", f"{sign}{top} \\times 10^{{-{places}}}", f"{sign}{top}e-{places}"]
        if bottom == 100:
            forms.append(f"{sign}{top}\\%")
    return rng.choice(forms)


def read_back(text: str, value: Fraction) -> Fraction:
    """Only one form has another value than it was made from."""
    return value * 1000 if text.endswith("{,}000") else value


def numbers(rng: random.Random):
    bottom = rng.choice([1, 1, 2, 3, 7, 10, 100, 1000])
    one = Fraction(rng.randint(-2000, 2000), bottom)
    other = rng.choice([one, one, -one, one + 1, one + Fraction(1, bottom), one * 10, one / 100, one * 100])
    if len({one.denominator, other.denominator} - {1}) > 1 and rng.random() < 0.5:
        other = one
    answer, gold = number_in_some_form(one, rng), number_in_some_form(other, rng)
    equal = read_back(answer, one) == read_back(gold, other)
    if "apples" in answer + gold and "circ" in answer + gold or "$" in answer + gold and "circ" in answer + gold:
        return None  # units that differ
    if "apples" in answer + gold and "$" in answer + gold:
        return None
    if Fraction(read_back(gold, other)).denominator == 1 and ("/" in answer or "frac" in answer):
        return None  # a whole number is to be worked out
    return f"\\boxed{{{answer}}}", gold, "correct" if equal else "incorrect"


def algebra(rng: random.Random):
    import sympy

    x, y = sympy.symbols("x y")

    def expression(depth):
        if depth == 0:
            return rng.choice([x, y, sympy.Integer(rng.randint(1, 9)), sympy.sqrt(rng.choice([2, 3, 5])), sympy.pi])
        one, two = expression(depth - 1), expression(rng.randint(0, depth - 1))
        return rng.choice(
            [lambda: one + two, lambda: one * two, lambda: one - two, lambda: (one + two) ** rng.randint(1, 3)]
        )()

    made = expression(rng.randint(1, 3))
    if made.is_rational or not made.is_finite and made.is_finite is not None:
        return None
    equal = rng.choice([made, sympy.expand(made), sympy.factor(sympy.expand(made))])
    if len(sympy.latex(equal)) > 5 * len(sympy.latex(made)):
        return None  # multiplied out beyond what is accepted
    if rng.random() < 0.5:
        return f"\\boxed{{{sympy.latex(equal)}}}", sympy.latex(made), "correct"
    different = equal + rng.choice([1, -1, x, 2 * y, sympy.pi])
    return f"\\boxed{{{sympy.latex(different)}}}", sympy.latex(made), "not correct"


def noise(rng: random.Random):
    def text(most):
        return "".join(rng.choices(PIECES, k=rng.randint(1, most)))

    answer = text(rng.choice([4, 12, 40]))
    if rng.random() < 0.3:
        gold = answer if rng.random() < 0.5 else text(6)
        return f"\\boxed{{{answer}}}", gold, "any"
    return (
        text(rng.choice([4, 40, 400])),
        rng.choice(["5", "\\frac{1}{2}", "(1,2)", "x+1", "\\text{no}", text(6)]),
        "any",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    from timecost.verifiers.math import extract_answer, verify_math_batch

    rng, deadline = random.Random(args.seed), time.monotonic() + 60 * args.minutes
    counts, findings = {}, 0
    while time.monotonic() < deadline:
        cases = [case for _ in range(300) if (case := rng.choice([numbers, numbers, algebra, noise, noise])(rng))]
        start = time.process_time()
        verdicts = verify_math_batch([case[0] for case in cases], [case[1] for case in cases])
        if time.process_time() - start > 5:
            findings += 1
            print(f"slow: {time.process_time() - start:.1f} s for {len(cases)} cases", flush=True)
        for (completion, gold, expected), verdict in zip(cases, verdicts, strict=True):
            counts[expected, verdict.status] = counts.get((expected, verdict.status), 0) + 1
            itself = expected == "any" and gold.strip() != "" and extract_answer(completion)[0] == gold
            fine = verdict.status == expected or expected == "any" and (verdict.status == "correct" or not itself)
            if not (fine or expected == "not correct" and verdict.status != "correct"):
                findings += 1
                print(
                    f"{completion!r} for {gold!r}: {verdict.status} ({verdict.reason}), expected {expected}", flush=True
                )
    print(f"{sum(counts.values())} cases, {findings} findings: {counts}")
    sys.exit(findings > 0)


if __name__ == "__main__":
    main()
