"""What an answer is worth at the boundaries of a thought."""

from copy import deepcopy

import pytest
import torch

from timecost.tasks.arithmetic import build_tokenizer
from timecost.value.probes import sample_answers, score_answers, sees_masks
from timecost.value.states import attends_alone
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


def test_positions_that_are_learned_are_those_of_each_probe_and_nothing_is_dropped_out():
    """GPT-2, in the mode of training: what the shorter probes say does not depend on the longer ones beside them."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=EOS))
    torch.nn.init.normal_(model.transformer.wpe.weight)
    thought = Trace(0, [3, 4], [6, 7, 8, 9, 10, 11], True, [0, 3, 6])
    model.train()
    found = score_answers(model, [thought], [[12, 13]], [THINK_END], EOS)
    sampled = sample_answers(model, build_tokenizer(), [thought], lambda texts, _: [1.0] * len(texts),
                             lambda prefixes: [[EOS]] * len(prefixes), [THINK_END])  # fmt: skip
    assert model.training
    model.eval()
    for k, position in enumerate(thought.boundaries):
        ids = torch.tensor([[3, 4, *thought.thinking_ids[:position], THINK_END, 12, 13]])
        with torch.no_grad():
            log_probs = model(ids).logits[0, -3:].log_softmax(-1)
            closing = model.transformer(ids).last_hidden_state[0, -3]
        value = log_probs[[0, 1, 2], [12, 13, EOS]].sum().exp()
        torch.testing.assert_close(found.value[k], value)
        for probed in (found, sampled):
            torch.testing.assert_close(probed.closing[k], closing, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(probed.confidence[k], log_probs[0].max().exp())


def test_flash_attention_takes_no_mask_so_that_boundaries_are_scored_one_by_one(base):
    model = deepcopy(base[0])
    assert sees_masks(model)
    model.config._attn_implementation = "flash_attention_2"
    assert not sees_masks(model) and attends_alone(model), "but its cache can be wound back"
