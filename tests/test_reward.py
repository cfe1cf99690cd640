"""A verifier as a reward function of TRL."""

import logging
import pickle

import pytest

from timecost.verifiers import Reward, Verdict


def verify(completions, answers):
    """Equal strings are correct; a completion `crash` cannot be verified."""
    return [
        Verdict.verifier_error("crashed") if completion == "crash"
        else Verdict.correct() if completion == answer
        else Verdict.incorrect("not equal")
        for completion, answer in zip(completions, answers, strict=True)
    ]  # fmt: skip


def verify_raises(completions, answers):
    raise RuntimeError("a bug")


def verify_one(completions, answers):
    return [Verdict.correct()]


def test_scores_and_none_for_a_verifier_error(caplog):
    with caplog.at_level(logging.WARNING):
        scores = Reward(verify)(prompts=["?"] * 3, completions=["4", "5", "crash"], answer=["4", "4", "4"])
    assert scores == [1.0, 0.0, None]
    assert "1 of 3 completions not verified: crashed" in caplog.text


@pytest.mark.parametrize(
    "completion",
    [
        "4",
        [{"role": "assistant", "content": "4"}],
        [{"role": "assistant", "content": "let me look"}, {"role": "assistant", "content": "4"}],
        [{"role": "assistant", "content": [{"type": "text", "text": "4"}]}],
    ],
)
def test_the_text_of_the_last_message_is_verified(completion):
    assert Reward(verify)(completions=[completion], answer=["4"]) == [1.0]


@pytest.mark.parametrize("completion", [[], [{"role": "assistant", "content": None}]])
def test_a_completion_without_text_is_wrong(completion):
    assert Reward(verify)(completions=[completion], answer=["4"]) == [0.0]


def test_a_verifier_that_raises_leaves_its_call_unverified(caplog):
    assert Reward(verify_raises)(completions=["4", "5"], answer=["4", "4"]) == [None, None]
    assert "a bug" in caplog.text


def test_one_verdict_for_each_completion():
    with pytest.raises(ValueError, match="1 verdicts for 2 completions"):
        Reward(verify_one)(completions=["4", "5"], answer=["4", "4"])


def test_pickles_and_has_a_name():
    reward = pickle.loads(pickle.dumps(Reward(verify)))
    assert reward.__name__ == "accuracy"
    assert reward(completions=["4"], answer=["4"]) == [1.0]
