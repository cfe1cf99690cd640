import random

import pytest

from timecost.tasks.arithmetic import (
    DIFFICULTIES,
    MAX_COMPLETION_LENGTH,
    STYLES,
    Problem,
    build_tokenizer,
    is_held_out,
    problems,
    sample_problem,
    sample_trace,
    split_of,
    style_of,
    values_with_slip,
    verify,
    write_pass,
)  # fmt: skip

PROBLEM = Problem(7, (("-", 3), ("*", 2), ("+", 1)))
EVEN = dict.fromkeys(STYLES, 1.0)


def test_an_expression_is_evaluated_from_left_to_right():
    assert PROBLEM.prompt == "a7b-3c*2d+1=<think>"
    assert PROBLEM.values == [7, 4, 8, 9]
    assert (PROBLEM.answer, PROBLEM.difficulty) == ("9", 4)


def test_the_same_problem_in_every_style():
    written = {style: "".join(write_pass(PROBLEM, PROBLEM.values, style)) for style in ("steps", "pairs", "midway")}
    assert written == {"steps": "b7-3=4c4*2=8d8+1=9", "pairs": "c-3*2=8d+1=9", "midway": "c8"}
    for style, thinking in written.items():
        assert style_of(thinking + "</think>9") == style
    assert style_of("</think>9") == "direct"
    assert style_of("b7-3=4c4*2=8d8+1=9?c-3*2=8d+1=9</think>9") == "checked"
    assert style_of("=bb</think>9") == "other"


def test_every_style_is_told_apart_even_on_two_operands():
    problem = Problem(3, (("+", 4),))
    for style in ("steps", "pairs", "midway"):
        assert style_of("".join(write_pass(problem, problem.values, style)) + "</think>7") == style


def test_every_value_is_a_digit_and_every_operation_changes_it():
    rng = random.Random(0)
    for difficulty in DIFFICULTIES:
        values = sample_problem(rng, difficulty).values
        assert len(values) == difficulty
        assert all(0 <= value <= 9 for value in values)
        assert all(a != b for a, b in zip(values, values[1:], strict=False))


def test_splits_share_no_problem_and_training_holds_no_held_out_combination():
    by_split = {split: set(problems(split, 400)) for split in ("train", "validation", "test", "held_out")}
    assert all(split_of(problem) == split for split, found in by_split.items() for problem in found)
    assert len(set().union(*by_split.values())) == 1600
    assert not any(map(is_held_out, by_split["train"] | by_split["test"]))
    assert all(map(is_held_out, by_split["held_out"]))


def test_problems_are_a_function_of_the_seed_and_cover_every_difficulty():
    assert problems("test", 90, seed=3) == problems("test", 90, seed=3) != problems("test", 90, seed=4)
    assert {problem.difficulty for problem in problems("test", 90)} == set(DIFFICULTIES)
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        problems("dev", 1)


def test_traces_end_in_the_true_answer_and_fit_the_limit():
    rng, tokenizer = random.Random(0), build_tokenizer()
    for problem in problems("train", 300):
        text = "".join(piece for piece, _ in sample_trace(problem, rng, EVEN, early_share=0.15, slip_share=0.15))
        assert verify(text, problem.answer)
        assert len(tokenizer(text, add_special_tokens=False)["input_ids"]) < MAX_COMPLETION_LENGTH


def test_some_traces_are_closed_early():
    rng = random.Random(0)
    full = "".join(write_pass(PROBLEM, PROBLEM.values, "steps"))
    thoughts = [sample_trace(PROBLEM, rng, {"steps": 1.0}, early_share=0.5, slip_share=0.0) for _ in range(200)]
    thoughts = ["".join(text for text, _ in trace).partition("</think>")[0] for trace in thoughts]
    early = [thought for thought in thoughts if thought != full]
    assert 60 < len(early) < 140
    assert set(early) == {"b7-3=4", "b7-3=4c4*2=8"}


def test_a_slip_is_shown_but_not_trained_and_a_third_pass_decides():
    trace = sample_trace(PROBLEM, random.Random(1), {"checked": 1.0}, early_share=0.0, slip_share=1.0)
    assert [text.isdigit() for text, trained in trace if not trained] == [True]
    first, second, third = "".join(text for text, _ in trace).partition("</think>")[0].split("?")
    assert first[-1] != PROBLEM.answer
    assert second[-1] == third[-1] == PROBLEM.answer


def test_a_slip_carries_through_the_rest_of_the_pass():
    rng = random.Random(0)
    for _ in range(50):
        values, step = values_with_slip(PROBLEM, "steps", rng)
        assert values[: step + 1] == PROBLEM.values[: step + 1]
        assert values[-1] != PROBLEM.values[-1]


def test_only_an_answer_that_ends_the_completion_counts():
    assert verify("c8</think>9", "9")
    assert not verify("c8</think>9???", "9")
    assert not verify("c8</think>8", "9")
    assert not verify("c8", "9")


def test_the_tokenizer_gives_one_token_per_character_and_keeps_the_tags():
    tokenizer = build_tokenizer()
    text = PROBLEM.prompt + "c8</think>9"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == 1 + len("a7b-3c*2d+1=") + 1 + len("c8") + 1 + 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
