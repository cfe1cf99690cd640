"""Uniform numbers by key and position, and the tokens that they choose."""

import torch

from timecost.counter_sampler import CounterSampler, stream_key, uniforms

MASK = 2**64 - 1


def splitmix64(state: int) -> int:
    """The published generator in Python's own integers: the output for a state."""
    z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def test_the_numbers_are_those_of_splitmix64():
    for key in (0, 1, -5, 2**63 - 1, stream_key(0, "gsm8k", 7, 1, "inf")):
        for position in (0, 1, 1000):
            expected = splitmix64((key + 0x9E3779B97F4A7C15 * (position + 1)) & MASK) >> 12
            assert uniforms(torch.tensor([key]), position).item() == expected * 2.0**-52


def test_numbers_are_uniform_and_streams_do_not_follow_each_other():
    keys = torch.tensor([stream_key(0, "t", problem, 0, "inf") for problem in range(5000)])
    now, then = uniforms(keys, 0), uniforms(keys, 1)
    for numbers in (now, then):
        assert abs(numbers.mean() - 0.5) < 0.02 and abs(numbers.var() - 1 / 12) < 0.01
        assert numbers.min() >= 0 and numbers.max() < 1
    assert abs(torch.corrcoef(torch.stack([now, then]))[0, 1]) < 0.05
    assert len(set(keys.tolist())) == 5000


def draw(scores, keys, position=0, temperature=1.0):
    ids = torch.zeros(len(keys), 3 + position, dtype=torch.long)
    return CounterSampler(keys, 3, temperature)(ids, scores.clone()).argmax(-1)


def test_tokens_come_as_often_as_their_probabilities_say():
    keys = [stream_key(i) for i in range(20_000)]
    scores = torch.tensor([0.0, 1.0, -torch.inf, 2.0]).repeat(len(keys), 1)
    for temperature in (1.0, 0.5):
        expected = (scores[0] / temperature).softmax(-1)
        shares = torch.bincount(draw(scores, keys, temperature=temperature), minlength=4) / len(keys)
        assert torch.allclose(shares, expected, atol=0.012)
        assert shares[2] == 0, "a token that is ruled out is never drawn"


def test_a_row_draws_the_same_whatever_stands_beside_it():
    keys, scores = [stream_key(i) for i in range(64)], torch.randn(64, 50, generator=torch.Generator().manual_seed(0))
    together = draw(scores, keys, position=5)
    assert torch.equal(draw(scores[40:41], keys[40:41], position=5), together[40:41])
    assert not torch.equal(draw(scores, keys, position=6), together)


def test_logits_that_are_not_finite_are_noticed():
    sampler = CounterSampler([1, 2], 0)
    sampler(torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 5))
    assert not sampler.broken
    sampler(torch.zeros(2, 1, dtype=torch.long), torch.tensor([[0.0] * 5, [float("nan")] * 5]))
    assert sampler.broken
