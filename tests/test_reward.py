"""A verifier as a reward function of TRL."""

import logging
import pickle

import pytest

from timecost.verifiers import Reward, TooManyVerifierErrors, Verdict


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


def test_more_errors_than_the_window_allows_end_it_with_one_line():
    reward = Reward(verify, max_error_rate=0.05, window=100)
    crashes = ["4"] * 95 + ["crash"] * 5
    assert reward(completions=crashes, answer=["4"] * 100).count(None) == 5  # at the limit
    with pytest.raises(TooManyVerifierErrors, match="6 of the last 100 .* more than 5% of 100.*: crashed"):
        reward(completions=["crash"], answer=["4"])


def test_old_errors_leave_the_window():
    reward = Reward(verify, max_error_rate=0.5, window=4)
    for completion in ["crash", "crash", "4", "4", "4", "crash", "crash"]:
        reward(completions=[completion], answer=["4"])
    with pytest.raises(TooManyVerifierErrors):
        reward(completions=["crash"], answer=["4"])


def test_a_verifier_that_raises_again_and_again_ends_it():
    reward = Reward(verify_raises, window=100)
    for _ in range(2):
        assert reward(completions=["4", "5"], answer=["4", "4"]) == [None, None]
    with pytest.raises(TooManyVerifierErrors, match="RuntimeError: a bug"):
        reward(completions=["4", "5"], answer=["4", "4"])


@pytest.mark.parametrize("wrong", [{"max_error_rate": -0.1}, {"max_error_rate": 1.1}, {"window": 0}])
def test_limits_that_do_not_exist(wrong):
    with pytest.raises(ValueError, match="max_error_rate must be in"):
        Reward(verify, **wrong)
