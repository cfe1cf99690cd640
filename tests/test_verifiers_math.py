"""Grading of mathematical answers: what counts as the answer, and what equals the gold one."""

import json
import re
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timecost.verifiers import _math_forms as forms
from timecost.verifiers.math import (
    MathPolicy,
    decide,
    extract_answer,
    verify_math,
    verify_math_batch,
    without_code,
)
from timecost.verifiers.verdict import Verdict


def status(completion: str, gold: str, **policy) -> str:
    return verify_math(completion, gold, MathPolicy(**policy)).status


def boxed(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


@pytest.mark.parametrize(
    "completion",
    [
        "48 / 2 = 24, 48 + 24 = 72\n#### 72",
        "The answer is $\\boxed{72}$.",
        "\\[\n\\boxed{72}\n\\]",
        "\\boxed {72}",
        "\\boxed{3}. Wait, \\boxed{72}",  # the last one counts
        "\\boxed{3}\n#### 72",
        "#### 3\nNo: \\boxed{72}",
        "<think>Is it \\boxed{3}?</think>\n#### 72",
        "so it is #### 3</think>#### 72",  # the prompt opened thinking
        "#### 72\n\nI hope this helps!",
        "#### $72.00",
        "#### **72**",
        "#### 72 clips",
        "#### 48 + 24 = 72",
        "#### x = 72",
        "\\boxed{72\\text{ clips}}",
        "\\boxed{\\left(72\\right)}",
    ],
)
def test_the_last_answer_counts(completion):
    assert status(completion, "72") == "correct"


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("", "no answer"),
        ("The answer is 72.", "no answer"),
        ("<think>48 + 24 = 72\n#### 72", "thinking never closed"),
        ("<think>a</think><think>#### 72", "thinking never closed"),
        ("#### 72</think>", "no answer"),
        ("#### 72\n" + "noise " * 20, "text goes on"),  # an entropy bonus must not pay for noise after the answer
        ("\\boxed{72}" + " noise" * 100, "text goes on"),
        ("\\boxed{72}\n```\n" + "noise " * 100 + "\n```", "text goes on"),
        ("\\boxed{72", "never closes"),
        ("####  \n", "is empty"),
        ("#### 71", "answered '71', not '72'"),
        ("#### 71 or 72", "answered"),
        ("#### 71, 72", "answered"),
        ("#### 72 million", "answered"),
        ("\\boxed{72}. Wait, \\boxed{3}", "answered '3'"),
        ("#### 72} \\boxed{3", "never closes"),
        ("#### 3}{72", "braces"),
    ],
)
def test_wrong_with_a_reason(completion, reason):
    verdict = verify_math(completion, "72")
    assert verdict.status == "incorrect"
    assert reason in verdict.reason


@pytest.mark.parametrize("expression", ["48+24", "144/2", "\\frac{144}{2}", "9 \\times 8", "90 - 18", "(9)(8) = 9 * 8"])
def test_an_expression_is_not_the_number_that_it_equals(expression):
    assert "not worked out" in verify_math(f"#### {expression}", "72").reason


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("1/2", "0.5"),
        ("\\frac12", "\\frac{1}{2}"),
        ("50\\%", "0.5"),
        ("0.5", "50\\%"),
        ("11\\frac{13}{100}", "1113\\%"),
        ("-\\$1,080.50", "-1080.5"),
        ("1.2 \\times 10^3", "1200"),
        ("72 \\text{ million}", "72000000"),
        ("3\\frac{1}{2}", "3.5"),
        ("0.333333", "\\frac{1}{3}"),
        ("2\\sqrt{3}", "\\sqrt{12}"),
        ("x^2+2x+1", "(x+1)^2"),
        ("{2, 1}", "1, 2"),
        ("x=1 \\text{ or } x=2", "1,2"),
        ("1+\\sqrt{2}, 1-\\sqrt{2}", "1 \\pm \\sqrt{2}"),
        ("(1.5, \\sqrt{12})", "\\left(\\frac{3}{2}, 2\\sqrt{3}\\right)"),
        ("x \\in [-2,7]", "[-2,7]"),
        ("2x+3", "y = 2x+3"),
        ("5 meters", "5\\text{ m}"),
        ("5", "5 \\text{ m}"),
        ("90^\\circ", "90"),
        ("Evelyn", "\\text{Evelyn}"),
        ("an ellipse", "\\text{ellipse}"),
        ("\\text{C}", "\\text{(C)}"),
        ("2516_{8}", "2516_8"),
        ("7" * 5000, "7" * 5000),
    ],
)
def test_equal_in_another_form(answer, gold):
    assert status(boxed(answer), gold) == "correct"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("3=3", "3"),
        ("5=3", "3"),
        ("1e400000000", "1"),
        ("5\\text{ km}", "5\\text{ m}"),
        ("5 km", "5 m"),
        ("5\\text{ m}^2", "5\\text{ m}"),
        ("\\$5.4", "5.4\\text{ cents}"),
        ("101_2", "101"),
        ("101_3", "101_2"),
        ("10", "10\\%"),
        ("10\\%", "10"),
        ("12345678901234567891", "12345678901234567890"),
        ("0.34", "1/3"),
        ("0.3333", "1/3"),
        ("0.5000001", "0.5"),
        ("x+1", "x"),
        ("km", "m"),
        ("Evlyne", "Evelyn"),
        ("D", "\\text{(C)}"),
        ("(5,2)", "(3,1)"),  # both are empty as open intervals
        ("(1,2)", "1,2"),
        ("(1,2)", "[1,2]"),
        ("\\{1,2\\}", "(1,2)"),
        ("1,1", "1,2"),
        ("1,2,3", "1,2"),
        ("72\\text{ or 73}", "72"),
        ("72\\text{ million}", "72"),
        ("7²", "72"),
        ("7☃2", "72"),
        ("-x", "x"),
        ("\\left(1\\right)", "1 1/2"),
        ("\\sqrt{1}", "1 1/2"),
        ("1 1/2", "\\sqrt{1}"),
    ],
)
def test_different(answer, gold):
    assert status(boxed(answer), gold) == "incorrect"


def test_boxes_in_prose_are_not_a_set():
    assert status("maybe \\boxed{1} or \\boxed{2}", "\\{1,2\\}") == "incorrect"
    assert status("\\boxed{3}. Wait, \\boxed{4}", "4") == "correct"


@pytest.mark.parametrize(
    "completion",
    [
        "```python\n# \\boxed{5}\nprint(7)\n```",
        "```\nx = 5  # \\boxed{5}\n",
        "The program:\n    # \\boxed{5}\n    return 7",
        "% \\boxed{5}\nI do not know.",
        "// \\boxed{5}",
        "<!-- #### 5 -->",
    ],
)
def test_an_answer_in_code_or_a_comment_does_not_count(completion):
    assert "no answer" in verify_math(completion, "5").reason


@pytest.mark.parametrize("completion", ["# Answer\n\\boxed{5}", "20% of 25 is \\boxed{5}", "```latex\n\\boxed{5}\n```"])
def test_an_answer_beside_marks_of_code_counts(completion):
    assert status(completion, "5") == "correct"


# Policies -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "completion", "gold", "expected"),
    [
        ({"thinking": "opened_by_prompt"}, "so #### 72", "72", "incorrect"),
        ({"thinking": "opened_by_prompt"}, "so</think>#### 72", "72", "correct"),
        ({"thinking": "none"}, "<think>#### 72", "72", "correct"),
        ({"think_end": "[/T]"}, "#### 1[/T]#### 72", "72", "correct"),
        ({"answer_in": "box"}, "\\boxed{72}\n#### 3", "72", "correct"),
        ({"answer_in": "hashes"}, "#### 72\n\\boxed{3}", "72", "correct"),
        ({"answer_in": "number"}, "Of 90, it is 72.", "72", "correct"),
        ({"answer_in": "number"}, "It is -72.5 dollars", "-72.5", "correct"),
        ({"answer_in": "number"}, "It is 72, not 90", "72", "incorrect"),
        ({"answer_in": "number"}, "I do not know", "72", "incorrect"),
        ({"max_tail": None}, "#### 72\n" + "noise " * 20, "72", "correct"),
        ({"boxes": "joined"}, "$\\boxed{1}$ and $\\boxed{2}$", "\\{1,2\\}", "correct"),
        ({"boxes": "joined"}, "maybe \\boxed{1} or \\boxed{2}", "\\{1,2\\}", "incorrect"),
        ({"boxes": "joined"}, "\\boxed{3}. Wait, \\boxed{4}", "4", "correct"),
        ({"units": "required"}, "\\boxed{5}", "5\\text{ m}", "incorrect"),
        ({"units": "required"}, "\\boxed{5\\text{ m}}", "5\\text{ m}", "correct"),
        ({"units": "ignore"}, "\\boxed{5\\text{ km}}", "5\\text{ m}", "correct"),
        ({"percent": "sign_optional"}, "\\boxed{10\\%}", "10", "correct"),
        ({"percent": "sign_optional"}, "\\boxed{10}", "10\\%", "incorrect"),
        ({"percent": "ignore"}, "\\boxed{10}", "10\\%", "correct"),
        ({"brackets": "ignore"}, "\\boxed{1,2}", "(1,2)", "correct"),
        ({}, "\\boxed{1<x<2}", "(1,2)", "incorrect"),
        ({"intervals": "or_inequality"}, "\\boxed{1<x<2}", "(1,2)", "correct"),
        ({"intervals": "or_inequality"}, "\\boxed{1<x<3}", "(1,2)", "incorrect"),
        ({"rounding": 2}, "\\boxed{0.33}", "1/3", "correct"),
        ({"rounding": None}, "\\boxed{0.333333}", "1/3", "incorrect"),
    ],
)
def test_policies(policy, completion, gold, expected):
    assert status(completion, gold, **policy) == expected


@pytest.mark.parametrize("wrong", [{"units": "some"}, {"seconds": 0}, {"rounding": 0}, {"think_end": ""}])
def test_a_policy_that_does_not_exist(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MathPolicy(**wrong)


# Hostile answers ------------------------------------------------------------------------------------------------------

OUT_OF_BOUNDS = [
    "9^{387420489}", "9^{9^{9}}", "2**3**4", "1e400000000", "100000!", "9999!!", "((3^{99})^{99})^{9999}", "7" * 20_000,
    "(9999!)^{9999}", ",".join(map(str, range(20_000))), "{" * 40 + "x" + "}" * 40, "(" * 40 + "x" + ")" * 40,
    "x" * 100_000, "\\sqrt{" * 60 + "2" + "}" * 60, "²" * 100_000, "7 " * 50_000, "\\text{a}" * 20_000,
]  # fmt: skip


@pytest.mark.parametrize("answer", OUT_OF_BOUNDS, ids=range(len(OUT_OF_BOUNDS)))
def test_hostile_answers_are_wrong_without_a_question_to_a_worker(answer):
    started = time.process_time()
    outcome = decide(boxed(answer), "5")
    assert isinstance(outcome, Verdict) and outcome.status == "incorrect"
    assert time.process_time() - started < 6


@pytest.mark.parametrize(
    ("answer", "gold", "reason"),
    [
        ("x" + "+x" * 60, "y+1", "much longer"),
        ("\\int_0^1 2x dx", "x", "not worked out: it holds \\\\int"),
        ("\\binom{9}{2}+x", "36+x", "not worked out: it holds \\\\binom"),
        ("(x+y)^{300}", "x+y", "a power of 300"),
        ("\\frac{x^{9999}-1}{x-1}", "x+y", "a power of 9999"),
    ],
)
def test_an_answer_that_leaves_the_work_to_computer_algebra_is_wrong(answer, gold, reason):
    outcome = decide(boxed(answer), gold)
    assert isinstance(outcome, Verdict) and outcome.status == "incorrect"
    assert re.search(reason, outcome.reason)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("\\int_0^x f(t) dt", "\\int_0^xf(t)dt + 0"),
        ("(1+x)^{100}", "(x+1)^{100}"),
        ("x^{40}+1", "1+x^{40}"),
        ("\\binom{n}{2}", "\\binom{n}{2}+0"),
    ],
)
def test_what_the_gold_answer_holds_too_is_asked_about(answer, gold):
    assert not isinstance(decide(boxed(answer), gold), Verdict)


@pytest.mark.parametrize(
    "text",
    ["\\boxed{" * 20_000, "####" * 25_000, "```\n" * 25_000, "<!--" * 25_000, "<!-- -->" * 12_500 + "\\boxed{",
     "<think>" * 20_000, "1,234" * 20_000, "{}" * 50_000 + "\\boxed{1", "\u202e\u200b" * 50_000 + "#### 5"],
    ids=range(9),
)  # fmt: skip
@pytest.mark.parametrize(
    "policy", [MathPolicy(), MathPolicy(answer_in="number", boxes="joined")], ids=["mark", "number"]
)
def test_an_answer_is_looked_for_in_linear_time(text, policy):
    started = time.process_time()
    extract_answer(text, policy)
    assert time.process_time() - started < 6


def test_a_gold_answer_out_of_bounds_is_an_error_unless_it_is_repeated():
    gold = "7" * 5000
    assert status("#### 7", gold) == "verifier_error"
    assert status(f"#### {gold}", gold) == "correct"
    assert status(f"#### {gold}1", gold) == "incorrect"


@pytest.mark.parametrize("gold", ["", "\\frac{"])
def test_an_unreadable_gold_answer_is_an_error(gold):
    assert status("#### 5 x", gold) == "verifier_error"


def test_batch_pairs_completions_with_golds():
    verdicts = verify_math_batch(["#### 1", "#### 1"], ["1", "2"])
    assert [verdict.score for verdict in verdicts] == [1.0, 0.0]
    with pytest.raises(ValueError):
        verify_math_batch(["#### 1"], ["1", "2"])


# Properties -----------------------------------------------------------------------------------------------------------

properties = settings(max_examples=60, deadline=None, derandomize=True, database=None)
marks = st.lists(
    st.sampled_from(
        ["####", "\\boxed{", "}", "{", "<think>", "</think>", "```", "\n", " 7", "x", "\\", "%", "<!--", ","]
    ),
    max_size=30,
).map("".join)
answers = st.lists(
    st.sampled_from([*"0123456789.,/+-*^_=(){}[]!%$ xπ²", "\\frac", "\\text{", "\\sqrt", "\\pm", " or ", " km", "\\%"]),
    max_size=12,
).map("".join)


@properties
@given(marks, st.sampled_from(["mark", "box", "hashes", "number"]), st.sampled_from(["last", "joined"]))
def test_extraction_gives_an_answer_or_a_reason_and_never_raises(text, answer_in, boxes):
    answer, reason = extract_answer(text, MathPolicy(answer_in=answer_in, boxes=boxes))
    assert (answer is None) == bool(reason)
    assert len(without_code(text)) == len(text)


@properties
@given(marks, st.text("0123456789abcxyz+-*/ ", min_size=1).filter(str.strip))
def test_the_last_box_is_found_after_anything_that_does_not_hide_it(before, answer):
    text = before.replace("```", "").replace("<!--", "").replace("%", "") + "</think>\n" + boxed(answer)
    assert extract_answer(text) == (answer, "")


@properties
@given(answers, answers)
def test_any_pair_is_decided_or_becomes_a_question(answer, gold):
    outcome = decide(boxed(answer), gold)
    assert isinstance(outcome, Verdict) or all(len(pair) == 2 for pair in outcome)


@properties
@given(answers.filter(str.strip))
def test_an_answer_equals_itself(gold):
    answer, _ = extract_answer(boxed(gold))
    if answer == gold:
        assert decide(boxed(gold), gold) == Verdict.correct()


@properties
@given(st.fractions(max_denominator=10**6))
def test_rationals_are_read_exactly(value):
    sign, top = "-" if value < 0 else "", abs(value.numerator)
    whole, rest = divmod(top, value.denominator)
    forms_of_it = [f"{value}", f"{sign}\\frac{{{top}}}{{{value.denominator}}}", f"{sign}{top:,}/{value.denominator}"]
    if rest:
        forms_of_it += [
            f"{sign}{whole} {rest}/{value.denominator}",
            f"{sign}{whole}\\frac{{{rest}}}{{{value.denominator}}}",
        ]
    for text in forms_of_it:
        assert forms.rational(text) == value


@properties
@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9), st.integers(1, 9)
)
def test_decimals_are_read_exactly(value, step):
    value = Fraction(value)
    written = f"{float(value):,.4f}"
    assert forms.rational(written) == Fraction(written.replace(",", ""))
    other = forms.rational(written) + Fraction(step, 10**4)
    assert status(f"#### {written}", str(other)) == "incorrect"


@properties
@given(st.fractions(max_denominator=1000), st.fractions(max_denominator=1000))
def test_different_rationals_are_different(one, other):
    assert status(f"#### {one}", str(other)) == ("correct" if one == other else "incorrect")


# Data -----------------------------------------------------------------------------------------------------------------


def test_answers_of_other_problems_and_altered_ones_are_wrong(data_dir):
    """A sample of what scripts/bench_math_verifier.py measures in full."""
    rows = [json.loads(line) for line in (data_dir / "math500" / "test.jsonl").read_text().splitlines()[:60]]
    golds = [row["answer"] for row in rows]
    others = golds[1:] + golds[:1]  # "x=5" is 5
    pairs = [(other, gold) for other, gold in zip(others, golds, strict=True) if gold not in (other, other[2:])]
    pairs += [(f"-{gold}", gold) for gold in golds if gold.isdigit() and gold != "0"]
    pairs += [(f"{gold}1", gold) for gold in golds if gold.isdigit()]
    verdicts = verify_math_batch([boxed(answer) for answer, _ in pairs], [gold for _, gold in pairs])
    assert [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.status != "incorrect"] == []
