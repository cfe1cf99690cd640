"""What an answer is worth at the boundaries of a thought."""

import pytest
import torch

from timecost.value.probes import sample_answers, score_answers
from timecost.value.steps import step_boundaries, step_rule
from timecost.value.traces import Trace

THINK_END, EOS = 5, 2


@pytest.fixture(scope="module")
def base():
    from timecost.loading import load_model_to_use

    return load_model_to_use("arithmetic_base")


def trace(tokenizer, problem: int, prompt: str, thinking: str) -> Trace:
    ids = tokenizer(thinking, add_special_tokens=False)["input_ids"]
    return Trace(
        problem, tokenizer(prompt)["input_ids"], ids, True, step_boundaries(ids, step_rule(tokenizer, ("=", 1)))
    )


@pytest.fixture(scope="module")
def thoughts(base):
    _, tokenizer = base
    return [
        trace(tokenizer, 0, "a7b-3c*2=<think>", "b7-3=4c4*2=8"),
        trace(tokenizer, 1, "a7b-3c*2d+1e-4=<think>", "c-3*2=8e+1-4=5?b7-3=4"),
    ]


def test_all_boundaries_in_one_forward_are_worth_the_same_as_one_by_one(base, thoughts):
    model, tokenizer = base
    answers = [tokenizer.encode(text, add_special_tokens=False) for text in ("8", "55")]
    packed, plain = (
        score_answers(model, thoughts, answers, [THINK_END], EOS, packed=packed) for packed in (True, False)
    )
    assert packed.position.tolist() == [0, 6, 12, 0, 7, 14, 21]
    for name in ("value", "end_value", "hidden", "closing", "confidence", "entropy", "answer"):
        torch.testing.assert_close(getattr(packed, name), getattr(plain, name), atol=1e-4, rtol=1e-3)


def test_the_base_knows_the_answer_at_the_end_of_its_steps(base, thoughts):
    model, tokenizer = base
    answer = tokenizer.encode("8", add_special_tokens=False)
    right = score_answers(model, thoughts[:1], [answer], [THINK_END], EOS)
    assert right.value[-1] > 0.9 and right.end_value[0] > 0.9 and right.answer[-1] == answer[0]
    wrong = score_answers(model, thoughts[:1], [tokenizer.encode("3", add_special_tokens=False)], [THINK_END], EOS)
    assert wrong.value[-1] < 0.1
    assert score_answers(model, thoughts[:1], [None], [THINK_END], EOS).value.tolist() == [0, 0, 0]


def test_boundaries_that_are_not_probed_have_no_value_but_a_state(base, thoughts):
    model, tokenizer = base
    answers = [tokenizer.encode("8", add_special_tokens=False)] * 2
    few = score_answers(model, thoughts, answers, [THINK_END], EOS, max_probes=1)
    every = score_answers(model, thoughts, answers, [THINK_END], EOS)
    assert torch.isnan(few.value).sum() == len(every) - 2
    torch.testing.assert_close(few.hidden, every.hidden)
    torch.testing.assert_close(few.end_value, every.end_value)


def test_sampled_answers_are_verified_in_their_place_and_may_stay_unknown(base, thoughts):
    model, tokenizer = base
    eight = tokenizer.encode("8", add_special_tokens=False)
    seen = []

    def sample(prefixes):
        assert all(ids[-1] == THINK_END for ids in prefixes)
        return [[*eight, EOS]] * len(prefixes)

    def verify(texts, problems):
        seen.extend(texts)
        return [
            None if problem == 1 else float(text.endswith("8")) for text, problem in zip(texts, problems, strict=True)
        ]

    found = sample_answers(model, tokenizer, thoughts, verify, sample, [THINK_END], num_samples=2)
    assert found.value[:3].tolist() == [1, 1, 1] and torch.isnan(found.value[3:]).all()
    exact = score_answers(model, thoughts, [eight, eight], [THINK_END], EOS)
    for name in ("hidden", "closing", "confidence", "entropy", "answer", "agreed"):
        torch.testing.assert_close(getattr(found, name), getattr(exact, name), atol=1e-4, rtol=1e-3)
    assert seen[2] == "b7-3=4</think>8"
