"""What a verdict may say."""

import math

import pytest

from timecost.verifiers import Verdict


def test_a_part_of_the_score_is_allowed():
    assert Verdict("incorrect", 0.5, "3 of 6 tests").score == 0.5


@pytest.mark.parametrize("score", [math.nan, math.inf, -0.1, 1.1])
def test_a_score_outside_0_to_1_is_refused(score):
    with pytest.raises(ValueError, match="score"):
        Verdict("correct", score)


def test_an_unknown_status_is_refused():
    with pytest.raises(ValueError, match="maybe"):
        Verdict("maybe", 0.5)
