"""The price's factor on policies that are made up: each has a known answer to a price."""

import json
from math import exp, log

import pytest
import torch

from timecost.errors import UserError
from timecost.price_control import REFERENCE_BATCHES, PriceControl


def observe(control, accuracy, cost, num=400, **kwargs):
    correct = torch.zeros(num)
    correct[: round(accuracy * num)] = 1.0
    control.observe(correct, torch.full((num,), float(cost)), **kwargs)


def test_constant_and_warm_up():
    constant, warm = PriceControl(), PriceControl("warmup", warmup_steps=4)
    factors = []
    for _ in range(6):
        factors.append(warm.factor)
        for control in (constant, warm):
            observe(control, 0.9, 20)
    assert factors == [0, 0.25, 0.5, 0.75, 1, 1] and constant.factor == 1


class Policy:
    """A policy that moves a tenth of the way, each step, to where its price would have it."""

    def __init__(self):
        self.log_price = 0.0

    def step(self, factor):
        self.log_price += 0.1 * (log(factor) - self.log_price)
        price = exp(self.log_price)
        return 0.995 - 0.015 * price, 30 / (1 + 0.6 * price)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_dual_ascent_meets_a_stated_loss_of_accuracy(noise):
    """0.985 is met at a factor of 2/3."""
    generator = torch.Generator().manual_seed(0)
    policy = Policy()
    control = PriceControl("dual", max_accuracy_loss=0.01, reference_accuracy=0.995)
    seen = []
    for _ in range(300):
        accuracy, cost = policy.step(control.factor)
        observe(control, min(1, accuracy + noise * torch.randn((), generator=generator).item()), cost, num=2000)
        seen.append(accuracy)
    assert sum(seen[-50:]) / 50 == pytest.approx(0.985, abs=0.002) and min(seen[100:]) > 0.975


def test_dual_ascent_leaves_the_price_to_a_policy_that_still_learns():
    """Accuracy rises from 0.88 to 0.98, where the target of 0.97 leaves room, and falls in the end."""
    control = PriceControl("dual", max_accuracy_loss=0.01, reference_accuracy=0.98)
    for i in range(50):
        observe(control, 0.88 + 0.002 * i, 20, num=1000)
        assert control.factor >= 1
    for _ in range(20):
        observe(control, 0.98, 20, num=1000)
    assert control.factor > 1.5
    for _ in range(20):
        observe(control, 0.94, 20, num=1000)
    assert control.factor < 0.5


def test_dual_ascent_lowers_a_price_under_which_nothing_is_learned():
    control = PriceControl("dual", max_accuracy_loss=0.01, reference_accuracy=0.98)
    for i in range(60):
        observe(control, 0.9 - 0.001 * (i > 20), 20, num=1000)
    assert control.factor < 0.1


@pytest.mark.parametrize("target", [12.0, 25.0])
def test_dual_ascent_meets_a_stated_cost(target):
    policy, control = Policy(), PriceControl("dual", max_mean_cost=target)
    for _ in range(300):
        _, cost = policy.step(control.factor)
        observe(control, 0.9, cost)
    assert cost == pytest.approx(target, rel=0.05)


def test_the_reference_is_the_start_model():
    control = PriceControl("dual", max_accuracy_loss=0.02)
    for _ in range(REFERENCE_BATCHES):
        observe(control, 0.8, 20)
        assert control.factor == 1
    observe(control, 0.9, 20)
    assert control.reference == pytest.approx(0.8) and control.factor > 1


def run_guard(control, steps):
    for accuracy, cost, *more in steps:
        styles = ["long"] * 200 + ["short"] * 200
        told = dict(more[0]) if more else {}
        control.entropy = told.pop("entropy", None)
        observe(control, accuracy, cost, styles=styles, **told)


def test_the_guard_backs_off_when_the_objective_collapses(caplog):
    """The start model's best style is 'long', all of it correct at 30: J = -0.05 log 30 = -0.17."""
    control = PriceControl(guard=True)
    run_guard(control, [(0.75, 30.0)] * REFERENCE_BATCHES)
    assert control.best_style == "long" and control.best_style_value == pytest.approx(-0.05 * log(30))
    run_guard(control, [(0.99, 25.0)] * 20)
    assert control.factor == 1 and not control.events
    run_guard(control, [(0.6, 4.0)] * 10)
    (event,) = [event for event in control.events if "price factor 1 -> 0.5" in event]
    assert "the start model's style 'long' alone gives -0.170" in event and event in caplog.text
    assert control.factor == 0.5
    run_guard(control, [(0.6, 4.0)] * 30)
    assert control.factor == 0.25, "it waits before it judges again"
    assert control.metrics()["collapses"] == 2


def test_without_a_price_the_guard_only_tells():
    control = PriceControl(guard=True, acts=False)
    run_guard(control, [(0.75, 30.0)] * REFERENCE_BATCHES + [(0.99, 25.0)] * 20 + [(0.6, 4.0)] * 10)
    assert any("there is no price to lower" in event for event in control.events) and control.factor == 1


def test_the_guard_leaves_a_saving_that_pays():
    control = PriceControl(guard=True)
    run_guard(control, [(0.75, 30.0)] * REFERENCE_BATCHES + [(0.97, 8.0)] * 60)
    assert control.factor == 1 and not any("price factor" in event for event in control.events)


def test_early_signs_hold_the_price_where_it_is():
    control = PriceControl("dual", max_mean_cost=5.0, guard=True)
    fine = (0.9, 30.0, {"entropy": 0.5})
    run_guard(control, [fine] * (REFERENCE_BATCHES + 5))
    before = control.log_factor
    assert before > 0
    run_guard(control, [(0.9, 30.0, {"entropy": 0.0, "no_signal": 1.0})] * 60)
    assert set(control.signs) == {"entropy", "no_signal"} and len(control.events) == 2
    held = control.log_factor
    run_guard(control, [(0.9, 30.0, {"entropy": 0.0, "no_signal": 1.0})] * 5)
    assert control.log_factor == held > before
    run_guard(control, [fine] * 60)
    assert not control.signs and control.log_factor > held
    run_guard(control, [(0.9, 9.0, {"entropy": 0.5})] * 15)
    assert "length" in control.signs


def test_verifier_errors_count_for_nothing():
    control = PriceControl("dual", max_mean_cost=5.0)
    observe(control, 0.5, 10)
    control.observe(torch.full((400,), float("nan")), torch.full((400,), 1000.0))
    control.observe(torch.tensor([1.0, float("nan")] * 128), torch.tensor([10.0, 1000.0] * 128))
    assert control.num_steps == 2 and control.means["cost"] == pytest.approx(10)


def test_small_batches_are_pooled_so_that_noise_is_not_taken_for_collapse():
    """Two prompts of eight completions: by themselves their means would halve the price dozens of times."""
    generator = torch.Generator().manual_seed(0)
    control = PriceControl("dual", max_mean_cost=600.0, guard=True)
    for _ in range(2400):
        p = torch.rand((2, 1), generator=generator).round()  # a problem is solved, or it is not
        correct = (torch.rand((2, 8), generator=generator) < 0.1 + 0.8 * p).float()
        control.observe(correct, 600 * torch.ones(2, 8))
    assert control.referred and control.num_batches == 2400 and control.num_steps == 150 and not control.pending
    assert control.backed_off == 0 and 0.9 < control.factor < 1.1


def test_the_state_goes_through_json_and_goes_on():
    def fresh():
        return PriceControl("dual", max_mean_cost=15.0, guard=True)

    steps = [(0.9, 30 - i, {"entropy": 0.5 - i / 100}) for i in range(20)]
    whole, first, second = fresh(), fresh(), fresh()
    run_guard(whole, steps[:9])
    run_guard(first, steps[:9])
    for control in (whole, first):
        observe(control, 0.5, 20, num=100)
    assert first.pending, "too few completions for a step: they are kept for the next"
    run_guard(whole, steps[9:])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    run_guard(second, steps[9:])
    assert second.state_dict() == whole.state_dict() and second.factor == whole.factor != 1


@pytest.mark.parametrize(
    "wrong",
    [{"schedule": "x"}, {"schedule": "dual"}, {"max_mean_cost": 5.0}, {"warmup_steps": 3}, {"margin": 0.0},
     {"schedule": "dual", "max_mean_cost": -1.0}, {"schedule": "dual", "max_mean_cost": 1.0, "max_accuracy_loss": 0.1},
     {"schedule": "dual", "max_mean_cost": 1.0, "reference_accuracy": 0.5}],
)  # fmt: skip
def test_settings_that_contradict_each_other(wrong):
    with pytest.raises(UserError):
        PriceControl(**wrong)
