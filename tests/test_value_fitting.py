"""Fitting: the head learns where one more step pays, and that a high price makes it not pay."""

import pytest
import torch
from value_traces import gambles, make_traces

from timecost.errors import UserError
from timecost.value.fitting import FitConfig, calibrate_logits, fit_value_head, net_gain, open_loss, split_problems
from timecost.value.head import ValueHead, ValueHeadConfig
from timecost.value.stopping import closed_margin, open_margin

QUICK = FitConfig(width=16, num_layers=1, num_epochs=40, num_rounds=2, batch_size=64, learning_rate=2e-2)


def test_a_head_sees_where_thinking_pays_at_which_price():
    head = fit_value_head(gambles(), QUICK)
    fresh = gambles(seed=1)
    forecast = head.forecast(fresh)
    start, helps = fresh.position == 0, fresh.hidden[:, 0] == 1
    assert (forecast.value[start & helps, 0] - 0.1).abs().max() < 0.1
    assert (forecast.value[start & helps, -1] - 0.9).abs().max() < 0.1
    assert (forecast.value[start & ~helps, -1] - 0.1).abs().max() < 0.1
    assert (forecast.tokens[start, -1] - 4).abs().max() < 0.5
    for price in (0.01, 0.1):
        for m in (open_margin(forecast, price), closed_margin(forecast, price, head.config.prices)):
            assert (m[start & helps] > 0).all() and (m[start & ~helps] < 0.02).all()
    assert (open_margin(forecast, 0.25)[start] < 0).all(), "4 tokens at 0.25 each are more than 0.8"


def test_a_look_that_tells_nothing_new_is_not_paid_for():
    assert fit_value_head(gambles(), QUICK).config.peek_up_to < 0.01
    traces = gambles()
    traces.closing[:, 0] = traces.hidden[:, 0]
    traces.hidden[:, 0] = 0.0
    assert fit_value_head(traces, QUICK).config.peek_up_to >= 0.01


def test_gains_are_net_of_the_price():
    traces = make_traces([(0, 4, True, 0.9, [(0, 0.1), (4, 0.9)])])
    gain = net_gain(traces, torch.zeros(2, 2, dtype=torch.bool), torch.tensor([0.0, 0.1]), traces.value)
    torch.testing.assert_close(gain, torch.tensor([[0.8, 0.4], [0.0, 0.0]]))


def test_what_was_not_probed_has_no_part_in_the_loss():
    head = ValueHead(ValueHeadConfig(2, (0, 1), prices=(0.0, 0.1)))
    values = torch.tensor([[0.5, float("nan"), 0.5]])
    none = torch.zeros(1, 2, dtype=torch.bool)
    loss = open_loss(head, torch.zeros(1, 4), values, none.float(), none)
    torch.testing.assert_close(loss, torch.tensor(0.5).log().neg())


def test_calibration_undoes_a_head_that_is_too_sure():
    head = ValueHead(ValueHeadConfig(2, (0,), prices=(0.0, 0.1))).eval()
    torch.nn.init.normal_(head.open[-1].weight)
    inputs = torch.randn(400, 4)
    with torch.no_grad():
        logits, _ = head.logits(inputs)
        head.open[-1].weight *= 4
        calibrate_logits(head, inputs, logits.sigmoid())
    assert (head.scale - 0.25).abs().max() < 0.05


def test_the_split_is_by_problem():
    traces = make_traces([(i % 5, 2, True, 1.0, [(0, 0.0), (2, 1.0)]) for i in range(20)])
    drawn = split_problems(traces, 0.4, 0)
    problem = traces.problem[traces.trace]
    assert set(problem[drawn].tolist()).isdisjoint(problem[~drawn].tolist()) and drawn.sum() == 16


def test_a_boundary_that_was_not_peeked_at_teaches_nothing_and_breaks_nothing():
    traces = gambles(100)
    traces.closing[::3] = torch.nan
    head = fit_value_head(traces, FitConfig(width=8, num_layers=1, num_epochs=2, num_rounds=1))
    assert all(torch.isfinite(parameter).all() for parameter in head.state_dict().values())


def test_one_problem_is_too_few():
    with pytest.raises(UserError, match="give it more problems"):
        fit_value_head(make_traces([(0, 4, True, 0.9, [(0, 0.1), (4, 0.9)])]), QUICK)
