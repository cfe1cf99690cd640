"""The state-space recurrence: chunked equals one token at a time, and packed sequences do not touch each other."""

import pytest
import torch

from timecost.models.bmojo import ssd
from timecost.models.bmojo.ssd import causal_conv, last_tokens, ssd_chunked, ssd_fla, ssd_step


def inputs(length: int, batch: int = 3, heads: int = 4, groups: int = 2, dtype=torch.float64) -> dict:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    return {
        "x": normal(batch, length, heads, 5), "dt": normal(batch, length, heads).exp(), "A": -normal(heads).exp(),
        "B": normal(batch, length, groups, 7), "C": normal(batch, length, groups, 7), "D": normal(heads),
    }  # fmt: skip


def one_by_one(x, dt, A, B, C, D):
    state, outs = x.new_zeros(*x.shape[:1], *x.shape[2:], B.shape[-1]), []
    for t in range(x.shape[1]):
        y, state = ssd_step(x[:, t], dt[:, t], A, B[:, t], C[:, t], D, state)
        outs.append(y)
    return torch.stack(outs, 1), state


@pytest.mark.parametrize("length", [1, 6, 7, 23])
def test_chunked_equals_recurrent(length):
    data = inputs(length)
    y, state = ssd_chunked(**data, chunk_size=6)
    y_recurrent, state_recurrent = one_by_one(**data)
    torch.testing.assert_close(y, y_recurrent, atol=1e-9, rtol=0)
    torch.testing.assert_close(state, state_recurrent, atol=1e-9, rtol=0)


def test_a_step_is_the_equation():
    """h = exp(dt A) h + dt x B', y = h C + D x, for one head and a state of one number."""
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    y, state = ssd_step(
        x=2 * one, dt=0.5 * one[0], A=-one[0, 0], B=3 * one, C=5 * one, D=7 * one[0, 0],
        state=11 * one[None],
    )  # fmt: skip
    h = torch.exp(torch.tensor(-0.5, dtype=torch.float64)) * 11 + 0.5 * 2 * 3
    torch.testing.assert_close(state.squeeze(), h)
    torch.testing.assert_close(y.squeeze(), 5 * h + 7 * 2)


def test_a_sequence_goes_on_from_its_state():
    data = inputs(20)
    whole, _ = ssd_chunked(**data, chunk_size=6)
    parts = [{k: v if k in "AD" else v[:, part] for k, v in data.items()} for part in (slice(0, 9), slice(9, 20))]
    _, state = ssd_chunked(**parts[0], chunk_size=6)
    y, _ = ssd_chunked(**parts[1], chunk_size=6, initial_state=state)
    torch.testing.assert_close(y, whole[:, 9:], atol=1e-9, rtol=0)


def test_packed_sequences_start_at_zero():
    data = inputs(21)
    start = torch.zeros(3, 21, dtype=torch.bool)
    start[:, [0, 4, 5, 13]] = True
    y, _ = ssd_chunked(**data, chunk_size=6, start=start)
    for begin, end in ((0, 4), (4, 5), (5, 13), (13, 21)):
        alone = {k: v if k in "AD" else v[:, begin:end] for k, v in data.items()}
        torch.testing.assert_close(y[:, begin:end], ssd_chunked(**alone, chunk_size=6)[0], atol=1e-9, rtol=0)


def test_padding_is_a_step_of_length_zero():
    data = inputs(10)
    data["dt"][:, 7:] = 0
    _, state = ssd_chunked(**data, chunk_size=4)
    _, expected = ssd_chunked(**{k: v if k in "AD" else v[:, :7] for k, v in data.items()}, chunk_size=4)
    torch.testing.assert_close(state, expected, atol=1e-9, rtol=0)


def test_the_state_stays_float32_under_autocast():
    data = inputs(9, dtype=torch.float32)
    exact = ssd_chunked(**data)[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        state = ssd_chunked(**data)[1]
    assert state.dtype == torch.float32
    torch.testing.assert_close(state, exact)
    assert ssd_chunked(**inputs(9, dtype=torch.bfloat16))[1].dtype == torch.float32


def test_convolution_reaches_back_to_history_and_not_past_a_start():
    x = torch.tensor([1.0, 10.0, 100.0])[None, :, None]
    weight = torch.tensor([[1.0], [2.0]])
    assert causal_conv(x, weight).flatten().tolist() == [1, 12, 120]
    assert causal_conv(x, weight, history=torch.full((1, 1, 1), 4.0)).flatten().tolist() == [9, 12, 120]
    assert causal_conv(x, weight, position=torch.tensor([[0, 1, 0]])).flatten().tolist() == [1, 12, 100]
    assert causal_conv(x, weight, lag=1).flatten().tolist() == [0, 1, 12]


@pytest.mark.parametrize(("length", "lag"), [(7, 0), (7, 1), (2, 0), (1, 1)])
def test_gradients_of_the_convolution(length, lag):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, length, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight: causal_conv(x, weight, lag=lag), (x, weight))
    history = x.new_zeros(2, 3 + lag, 3)  # by autograd's own rules
    torch.testing.assert_close(causal_conv(x, weight, lag=lag), causal_conv(x, weight, history, lag=lag))


def linear_attention(q, k, v, g, scale, output_final_state, initial_state=None, cu_seqlens=None):
    """What the kernel of flash-linear-attention computes, by its documentation: S = exp(g) S + k v', o = scale q S."""
    ends = [] if cu_seqlens is None else cu_seqlens.tolist()
    state = v.new_zeros(v.shape[0], v.shape[2], k.shape[-1], v.shape[-1]) if initial_state is None else initial_state
    outs = []
    for t in range(q.shape[1]):
        state = torch.zeros_like(state) if t in ends else state
        state = state * g[:, t].exp()[..., None, None] + k[:, t][..., None] * v[:, t][:, :, None]
        outs.append(scale * (q[:, t][:, :, None] @ state)[:, :, 0])
    return torch.stack(outs, 1), state if output_final_state else None


def test_the_triton_backend_asks_its_kernel_for_the_same(monkeypatch):
    """With a stand-in for the kernel, which runs on GPUs alone."""
    monkeypatch.setattr(ssd, "fla_kernel", lambda device: linear_attention)
    data = inputs(21)
    for expected, found in zip(ssd_chunked(**data), ssd_fla(**data), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    state = torch.randn(3, 4, 5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected, found = ssd_chunked(**data, initial_state=state), ssd_fla(**data, initial_state=state)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    start = torch.zeros(3, 21, dtype=torch.bool)
    start[:, [4, 5, 13]] = True
    expected = ssd_chunked(**data, start=start)[0]
    torch.testing.assert_close(ssd_fla(**data, start=start)[0], expected, atol=1e-9, rtol=0)


def test_the_triton_backend_says_what_it_misses(monkeypatch):
    monkeypatch.setattr(ssd, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="needs the package flash-linear-attention: install it, or set"):
        ssd.check_fla()
    monkeypatch.setattr(ssd, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="needs a GPU, and there is none here: set ssm_backend='torch'"):
        ssd.check_fla()
    with pytest.raises(ValueError, match="needs a GPU, not 'cpu': move the model"):
        ssd_fla(**inputs(3))


def test_last_tokens_counts_each_row_by_itself():
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]])[..., None]
    history = torch.tensor([[8.0, 9.0], [6.0, 7.0]])[..., None]
    assert last_tokens(x, history, [3, 1])[..., 0].tolist() == [[2, 3], [7, 4]]
