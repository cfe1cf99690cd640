"""The guarantee: an exact binomial test, in a fixed sequence of prices."""

import pytest
import torch
from value_traces import gambles, make_traces

from timecost.errors import UserError
from timecost.value.calibration import (
    betting_p_value,
    binomial_interval,
    binomial_p_value,
    calibrate,
    harms,
    largest_safe_price,
)  # fmt: skip
from timecost.value.head import ValueHead, ValueHeadConfig
from timecost.value.stopping import StopRule, held_safe


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
    assert largest_safe_price(harmed, (1.0, 2.0, 3.0, 4.0)) == 2.0, "4 harms nobody but comes after 3"
    assert largest_safe_price(harmed[:100], (1.0, 2.0)) is None, "too few problems for any"


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
    assert found["accuracy"] == pytest.approx(float(gambles(400).end_value.mean()), abs=1e-4)


def test_what_could_not_be_judged_does_not_count():
    """5 harms among 200 that were judged are too many, whatever stands beside them."""
    harmed = [(i, 4, True, 1.0, [(0, float(i >= 5))]) for i in range(200)]
    unknown = [(200 + i, 4, True, float("nan"), [(0, 1.0)]) for i in range(800)]
    head = stops_everywhere()
    found = calibrate(head, make_traces(harmed + unknown), task="x", prices=(0.1,))
    assert (found["price"], found["num_problems"], found["num_harms"]) == (None, 200, 5)
    assert held_safe(head, StopRule(0.0))[0].highest == -1, "below every price: nothing is stopped"


def test_sampled_answers_are_judged_by_the_accuracy_lost():
    """Stopping is as good as thinking on; two independent draws differ by luck, which is no harm."""
    generator = torch.Generator().manual_seed(0)
    luck = (torch.rand(3000, 2, 4, generator=generator) < 0.9).float().mean(2).tolist()
    traces = make_traces([(i, 4, True, end, [(0, now)]) for i, (end, now) in enumerate(luck)])
    found = calibrate(stops_everywhere(), traces, task="x", prices=(0.1,), sampled=True)
    assert found["price"] == 0.1 and found["num_harms"] is None and abs(found["accuracy_lost"]) < 0.01
    assert calibrate(stops_everywhere(), traces, task="x", prices=(0.1,))["price"] is None


def test_the_order_of_the_problems_says_nothing():
    """The first half loses nothing, the second a tenth: in the order of the file betting would be won half-way."""
    rows = [(i, 4, True, 1.0, [(0, float(i < 600 or i % 10 > 0))]) for i in range(1200)]
    found = calibrate(stops_everywhere(), make_traces(rows), task="x", prices=(0.1,), sampled=True)
    assert found["price"] is None and found["accuracy_lost"] == 0.05


def test_betting_is_wrong_no_more_often_than_it_says():
    """Losses of 0.02 on average, three values, tested against 0.02: the least favourable case."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.tensor([0.09, 0.80, 0.11])
    losses = torch.multinomial(weights, 300 * 500, replacement=True, generator=generator).view(300, 500) - 1.0
    p_values = [betting_p_value(row, 0.02) for row in losses]
    assert sum(p <= 0.1 for p in p_values) <= 0.1 * 300
    fine = torch.multinomial(torch.tensor([0.01, 0.99]), 500, replacement=True, generator=generator) - 1.0
    assert betting_p_value(fine, 0.02) < 0.1, "and it notices that nothing is lost"


def test_a_model_that_is_never_right_has_nothing_to_lose():
    with pytest.raises(UserError, match="full thinking is right on 0.0 % of 2 problems"):
        calibrate(stops_everywhere(), make_traces([(i, 4, True, 0.0, [(0, 0.0)]) for i in range(2)]), task="x")


def test_the_stated_loss_is_exceeded_no_more_often_than_allowed():
    """Harms of 1.5 % at the price: each of 300 calibrations that stores it has failed."""
    generator = torch.Generator().manual_seed(0)
    stored = [largest_safe_price(torch.rand(500, 1, generator=generator) < 0.015, (1.0,)) for _ in range(300)]
    assert 0 < stored.count(1.0) / 300 <= 0.1


def test_two_traces_of_a_problem_are_no_two_problems():
    traces = make_traces([(0, 4, True, 0.9, [(0, 0.1)])] * 2)
    with pytest.raises(ValueError, match="one trace for each problem"):
        calibrate(stops_everywhere(), traces, task="x")
