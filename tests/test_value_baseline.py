"""Advantages per token: what a prefix foretells is no merit of what follows."""

import pytest
import torch

from timecost.value.baseline import PrefixBaseline, features
from timecost.value.head import ValueHead, ValueHeadConfig
from timecost.value.traces import Trace

PROMPT = [1, 7, 8]


@pytest.fixture(scope="module")
def model(tiny_arithmetic):
    from timecost.loading import load_model_to_use

    return load_model_to_use(tiny_arithmetic)[0]


class Foretells(ValueHead):
    """Knows after 4 tokens, from the position alone, how it will end: chance 0.9, where it was 0.5."""

    def __init__(self):
        super().__init__(ValueHeadConfig(32, (0, 4)))

    def forward(self, hidden, position, look=None):
        forecast = super().forward(hidden, position, look)
        end = torch.where(position >= 4, 0.9, 0.5)
        return forecast._replace(value=end[:, None].expand(-1, 3), tokens=(8.0 - position)[:, None].expand(-1, 3))


def traces(rows: int) -> list[Trace]:
    return [Trace(k, PROMPT, [9 + k] * 8, True, [0, 4]) for k in range(rows)]


def test_features_are_the_chance_at_the_end_and_the_log_of_the_expected_length():
    found = features(Foretells(), torch.zeros(2, 32), torch.tensor([0, 4]))
    torch.testing.assert_close(found, torch.tensor([[0.5, 2.1972246], [0.9, 2.1972246]]))


def test_the_weights_come_from_earlier_steps_and_the_tokens_before_a_boundary_keep_theirs(model):
    baseline, mask = PrefixBaseline(decay=0.0), torch.ones(2, 10)
    mask[1, 9:] = 0
    advantages = torch.tensor([0.4, 0.4])
    first, left = baseline.per_token(model, Foretells(), traces(2), advantages, mask)
    torch.testing.assert_close(first, advantages[:, None] * mask)
    assert left == 1.0, "nothing is known before the first step"
    again, left = baseline.per_token(model, Foretells(), traces(2), advantages, mask)
    # products / moments = 0.4 * 0.4 * 11 / (0.4^2 * 11), up to the ridge: weight 1, and 0.4 of chance was gained
    torch.testing.assert_close(again[:, :4], torch.full((2, 4), 0.4))
    torch.testing.assert_close(again[:, 4:], torch.zeros(2, 6), atol=0.01, rtol=0)
    assert left == pytest.approx(8 / 19, abs=0.01)


def test_where_what_comes_is_not_foretold_nothing_is_taken_off(model):
    baseline, mask = PrefixBaseline(), torch.ones(2, 10)
    for _ in range(3):
        found, left = baseline.per_token(model, Foretells(), traces(2), torch.tensor([0.5, -0.5]), mask)
    torch.testing.assert_close(found, torch.tensor([[0.5], [-0.5]]) * mask)
    assert left == pytest.approx(1.0)
