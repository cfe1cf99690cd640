"""Rivals on recorded traces."""

import pytest
import torch
from value_traces import gambles, two_traces

from timecost.value.rivals import (
    outcome,
    sees_answer,
    sees_position,
    sees_question,
    signals,
    stop_at,
    tuned,
)  # fmt: skip


def test_what_a_policy_brings_and_takes():
    value, tokens = outcome(two_traces(), stop_at(torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0]), 0.5))
    assert value.tolist() == [0.5, pytest.approx(0.3)] and tokens.tolist() == [3, 4]


def test_every_look_on_the_way_is_paid_for():
    stop = stop_at(torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0]), 0.5)
    assert outcome(two_traces(), stop, 1.0)[1].tolist() == [3 + 2, 4 + 2]


def test_the_threshold_depends_on_the_price():
    traces = gambles()
    position = signals(traces)["fixed budget"]
    think, answer = tuned(traces, position, (0.001, 0.5))
    assert think > 0 and answer == 0, "cheap tokens are worth a step, dear ones are not"


def test_what_each_fitted_rival_sees():
    traces = two_traces()
    assert (sees_position(traces).hidden == 0).all()
    assert sees_question(traces).hidden[:, 0].tolist() == [traces.hidden[0, 0]] * 3 + [traces.hidden[3, 0]] * 2
    assert sees_answer(traces).hidden.shape == (5, 4)
