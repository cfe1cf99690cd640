"""Every objective against values worked out by hand."""

import math

import pytest
import torch

from timecost.objectives import REGISTRY, accuracy, levin, linear

NAN = float("nan")


def close(actual, expected):
    torch.testing.assert_close(actual, torch.tensor(expected), equal_nan=True, atol=1e-5, rtol=1e-5)


def test_accuracy_is_correctness():
    close(accuracy(torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0, 9.0]])), [[1.0, 0.0]])


def test_linear_prices_correct_answers_only():
    close(linear(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[10.0, 30.0, 5.0]]), price=0.01), [[0.9, 0.7, 0.0]])


CORRECT = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
COST = torch.tensor([[2.0, 8.0, 2.0, 8.0]])  # log-mean 4, mean 5
LOG2 = math.log(2)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        # p = 1/2; log T - mean log T = -/+ log 2; (T - 5)/5 = -/+ 0.6
        ({"weighting": "success"}, [0.5 + 0.05 * LOG2, 0.5 - 0.05 * LOG2, -0.5 + 0.05 * LOG2, -0.5 - 0.05 * LOG2]),
        ({"weighting": "exact"}, [1 + 0.1 * LOG2, 1 - 0.1 * LOG2, -1 + 0.1 * LOG2, -1 - 0.1 * LOG2]),
        ({"weighting": "exact", "time": "mean"}, [1.06, 0.94, -0.94, -1.06]),
        ({"time_on": "correct"}, [0.5 + 0.1 * LOG2, 0.5 - 0.1 * LOG2, -0.5, -0.5]),
        ({"time_on": "correct", "time": "mean"}, [0.56, 0.44, -0.5, -0.5]),
    ],
)
def test_levin_forms(form, expected):
    close(levin(CORRECT, COST, time_elasticity=0.1, **form), [expected])


@pytest.mark.parametrize("weighting", ["exact", "success"])
@pytest.mark.parametrize("time", ["log", "mean"])
@pytest.mark.parametrize("time_on", ["all", "correct"])
def test_levin_is_centred_and_linear_in_the_price(weighting, time, time_on):
    torch.manual_seed(0)
    correct = (torch.rand(20, 8) < 0.5).float()
    cost = torch.rand(20, 8) * 50 + 1
    form = {"weighting": weighting, "time": time, "time_on": time_on}
    free, one, two = (levin(correct, cost, time_elasticity=e, **form) for e in (0.0, 0.1, 0.2))
    torch.testing.assert_close(one.sum(1), torch.zeros(20), atol=1e-4, rtol=0)
    torch.testing.assert_close(two - free, 2 * (one - free), atol=1e-5, rtol=0)


def test_levin_says_nothing_about_a_prompt_without_a_correct_answer():
    for time_on in ("all", "correct"):
        for weighting in ("exact", "success"):
            close(
                levin(torch.zeros(1, 2), torch.tensor([[3.0, 9.0]]), weighting=weighting, time_on=time_on), [[0.0, 0.0]]
            )


def test_levin_does_not_depend_on_the_unit_of_time():
    torch.testing.assert_close(levin(CORRECT, COST), levin(CORRECT, 1000 * COST))


@pytest.mark.parametrize("name", REGISTRY)
def test_a_verifier_error_is_out_of_every_statistic(name):
    with_error = REGISTRY[name](torch.tensor([[1.0, NAN, 0.0]]), torch.tensor([[4.0, 999.0, 8.0]]))
    without = REGISTRY[name](torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 8.0]]))
    assert torch.isnan(with_error[0, 1])
    torch.testing.assert_close(with_error[:, [0, 2]], without)


def test_a_group_of_verifier_errors_gives_nan():
    assert torch.isnan(levin(torch.full((1, 2), NAN), torch.tensor([[3.0, 9.0]]))).all()


@pytest.mark.parametrize("wrong", [{"weighting": "x"}, {"time": "x"}, {"time_on": "x"}, {"time_elasticity": -1.0}])
def test_levin_refuses_unknown_forms(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        levin(CORRECT, COST, **wrong)
