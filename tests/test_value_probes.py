"""Boundaries of steps, and what an answer is worth there."""

import pytest
import torch
from value_traces import two_traces

from timecost.value.probes import (
    ProbedTraces,
    StepRule,
    Trace,
    agreement,
    attends_alone,
    join,
    read_trace,
    sample_answers,
    score_answers,
    step_boundaries,
    step_rule,
)  # fmt: skip

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


def test_a_step_ends_behind_its_token_and_thinking_starts_with_a_boundary():
    assert step_boundaries([9, 1, 8, 9, 1, 8], StepRule((1,))) == [0, 2, 5]
    assert step_boundaries([9, 1, 8, 9, 1, 8], StepRule((1,), offset=1)) == [0, 3, 6]
    assert step_boundaries([9] * 5, StepRule(every=2)) == [0, 2, 4]


def test_the_rule_of_a_tokenizer(tiny_qwen3, base):
    from transformers import AutoTokenizer

    assert step_rule(base[1], ("=", 1)) == StepRule((base[1].convert_tokens_to_ids("="),), 1)
    assert step_rule(base[1]) == StepRule(every=16), "a tokenizer without line ends"
    chat = AutoTokenizer.from_pretrained(tiny_qwen3)
    assert chat.decode(step_rule(chat).token_ids[0]) == "\n"


def test_a_completion_is_read_up_to_the_end_of_thinking_or_the_limit():
    ended = read_trace(0, [1], [9, 8, THINK_END, 7, EOS], THINK_END, [EOS], StepRule((8,)), 4)
    assert (ended.thinking_ids, ended.natural, ended.boundaries) == ([9, 8], True, [0, 2])
    cut = read_trace(0, [1], [9, 8, 7, 6, 5], 99, [EOS], StepRule((8,)), 4)
    assert (cut.thinking_ids, cut.natural) == ([9, 8, 7, 6], False)


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


def test_agreement_counts_equal_answers_in_a_row():
    trace, answer = torch.arange(8) // 4, torch.tensor([4, 4, 7, 7, 7, 7, -1, -1])
    assert agreement(trace, answer).tolist() == [1, 2, 1, 2, 1, 2, 1, 1], "each trace anew; no answer agrees with none"
    assert agreement(trace[:0], answer[:0]).tolist() == []


def test_traces_are_joined_selected_and_kept(tmp_path):
    both = join([two_traces(), two_traces()])
    assert both.trace.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    second = both.select(torch.tensor([False, True, False, True]))
    assert second.trace.tolist() == [0, 0, 1, 1] and second.num_thinking.tolist() == [4, 4]
    both.save(tmp_path / "traces.safetensors")
    again = ProbedTraces.load(tmp_path / "traces.safetensors")
    assert again.position.tolist() == both.position.tolist()


def test_a_model_with_a_window_does_not_attend_alone():
    from transformers import AutoModelForCausalLM, MistralConfig, Qwen3Config

    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}  # fmt: skip
    alone = [
        attends_alone(AutoModelForCausalLM.from_config(config))
        for config in (MistralConfig(**sizes, sliding_window=8), MistralConfig(**sizes, sliding_window=None),
                       Qwen3Config(**sizes))
    ]  # fmt: skip
    assert alone == [False, True, True]
