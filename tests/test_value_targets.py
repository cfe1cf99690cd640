"""Targets of the value head, from two traces by hand: a natural end after 6 tokens, and a cut after 4."""

import torch
from value_traces import make_traces, two_traces

from timecost.value.targets import anytime_values, hazard_targets, horizons_up_to, remaining_tokens, returns

NAN = float("nan")


def test_horizons_double_until_they_hold_the_longest_thinking():
    assert horizons_up_to(96) == (0, 1, 2, 4, 8, 16, 32, 64, 128)


def test_a_horizon_takes_the_last_boundary_within_it_and_absorbs_the_end():
    values = anytime_values(two_traces(), (0, 2, 4, 8))
    expected = [
        [0.1, 0.1, 0.5, 0.9, 0.9],  # 4 tokens on lies the boundary at 3; 8 tokens on the trace has ended
        [0.5, 0.5, 0.9, 0.9, 0.9],
        [0.8, 0.9, 0.9, 0.9, 0.9],  # at the very end closing by force is still one of the choices
        [0.2, NAN, 0.3, 0.3, 0.3],  # 2 tokens on lies a boundary without a probe
        [NAN, 0.3, 0.3, 0.3, 0.3],
    ]
    torch.testing.assert_close(values, torch.tensor(expected), equal_nan=True)


def test_a_cut_hides_how_many_tokens_would_have_followed():
    remaining, censored = remaining_tokens(two_traces())
    assert remaining.tolist() == [6, 3, 0, 4, 2] and censored.tolist() == [False] * 3 + [True] * 2
    ended, at_risk = hazard_targets(remaining, censored, (0, 2, 4, 8))
    assert ended.tolist() == [[0, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert at_risk[3].tolist() == [True, True, True, False], (
        "cut after 4: it lasted beyond 0, 2 and 4, not known longer"
    )
    assert at_risk[2].tolist() == [True, False, False, False], "what has ended cannot end again"


def test_returns_follow_the_policy_to_its_first_stop():
    traces = make_traces([(0, 9, True, 1.0, [(0, 0.1), (3, 0.6), (5, 0.2)])])
    prices = torch.tensor([0.0, 0.0])
    stop = torch.tensor([[True, True], [False, True], [False, False]])
    reward, tokens = returns(traces, stop, prices, traces.value)
    torch.testing.assert_close(reward, torch.tensor([[1.0, 0.6], [1.0, 1.0], [1.0, 1.0]]))
    assert tokens.tolist() == [[9, 3], [6, 6], [4, 4]], "stopping at 3 ends what goes on from 0; 0 itself goes on"
    assert returns(traces, stop, prices, traces.value, look=1.0)[1].tolist() == [[11, 4], [7, 7], [4, 4]]
