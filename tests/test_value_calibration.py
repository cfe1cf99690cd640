"""The guarantee: an exact binomial test, in a fixed sequence of prices."""

import pytest
import torch
from value_traces import gambles, make_traces

from timecost.value.calibration import (
    binomial_interval,
    binomial_p_value,
    calibrate,
    harms,
    largest_safe_price,
)  # fmt: skip
from timecost.value.head import ValueHead, ValueHeadConfig


def test_230_problems_without_a_harm_are_about_enough_for_one_percent():
    assert binomial_p_value(0, 229, 0.01) > 0.1 > binomial_p_value(0, 230, 0.01)
    assert binomial_p_value(1, 2, 0.5) == pytest.approx(0.75)


def test_the_interval_of_a_share():
    low, high = binomial_interval(20, 200)
    assert (low, high) == (pytest.approx(0.0622, abs=1e-3), pytest.approx(0.1502, abs=1e-3))
    assert binomial_interval(0, 10)[0] == 0 and binomial_interval(10, 10)[1] == 1


def test_the_sequence_ends_at_the_first_price_that_fails():
    harmed = torch.zeros(400, 4, dtype=torch.bool)
    harmed[:1, 1] = True
    harmed[:50, 2] = True
    assert largest_safe_price(harmed, (1.0, 2.0, 3.0, 4.0)) == (2.0, 1), "4 harms nobody but comes after 3"
    assert largest_safe_price(harmed[:100], (1.0, 2.0)) == (0.0, 0), "too few problems for any"


def stops_everywhere() -> ValueHead:
    head = ValueHead(ValueHeadConfig(2, (0, 4), (0.0, 0.1)))
    with torch.no_grad():
        head.closed[-1].bias.copy_(torch.tensor([1.0, -1.0]))  # goes on while the price is below 0.05
    return head


def test_harm_is_right_in_full_and_wrong_when_stopped_with_the_same_luck():
    traces = make_traces([(i, 4, True, 0.9, [(0, 0.1), (4, 0.9)]) for i in range(3)])
    harmed = harms(stops_everywhere(), traces, (0.01, 0.1), torch.tensor([0.05, 0.5, 0.95]))
    assert harmed.tolist() == [[False, False], [False, True], [False, False]]


def test_the_price_is_stored_and_stays_below_where_stopping_harms():
    head = stops_everywhere()
    found = calibrate(head, gambles(400), task="gambles", prices=(0.001, 0.01, 0.06, 0.1))
    assert found["price"] == 0.01 and head.config.calibration == found and found["num_problems"] == 400


def test_the_stated_loss_is_exceeded_no_more_often_than_allowed():
    """Harms of 1.5 % at the price: each of 300 calibrations that stores it has failed."""
    generator = torch.Generator().manual_seed(0)
    stored = [largest_safe_price(torch.rand(500, 1, generator=generator) < 0.015, (1.0,))[0] for _ in range(300)]
    assert 0 < sum(stored) / 300 <= 0.1


def test_two_traces_of_a_problem_are_no_two_problems():
    traces = make_traces([(0, 4, True, 0.9, [(0, 0.1)])] * 2)
    with pytest.raises(ValueError, match="one trace for each problem"):
        calibrate(stops_everywhere(), traces, task="x")
