"""The state-space recurrence of the fading memory: Mamba-2's SSD (arXiv 2405.21060), chunked and one token at a time.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t'        y_t = C_t h_t + D x_t

The state is float32, or float64 where the input is. A token with dt = 0 leaves the state as it is, so padding is
dt = 0. `start` marks first tokens of packed sequences; there the state begins at zero.
"""

from functools import wraps
from importlib.util import find_spec

import torch
from torch.nn import functional as F


def causal_conv(
    x: torch.Tensor,
    weight: torch.Tensor,
    history: torch.Tensor | None = None,
    position: torch.Tensor | None = None,
    lag: int = 0,
) -> torch.Tensor:
    """Depthwise causal convolution: out_t = sum over i of weight[i] * x_{t - lag - i}.

    Args:
        x: (batch, tokens, channels). weight: (taps, channels).
        history: (batch, taps + lag - 1, channels), what came before x; zeros where None.
        position: (batch, tokens), index of each token in its sequence; taps do not reach before index 0. None where
            no row holds more than one sequence.
    """
    if history is None and position is None:
        return CausalConv.apply(x, weight, lag)
    taps, length = weight.shape[0], x.shape[1]
    reach = taps + lag - 1
    full = F.pad(x, (0, 0, reach, 0)) if history is None else torch.cat([history.to(x.dtype), x], dim=1)
    out = None
    for i in range(taps):
        back = lag + i
        term = full[:, reach - back : reach - back + length] * weight[i]
        if position is not None and back:
            term = term.masked_fill((position < back)[..., None], 0.0)
        out = term if out is None else out + term
    return out


class CausalConv(torch.autograd.Function):
    """`causal_conv` of new rows of one sequence each, in half the passes over memory that autograd would take."""

    @staticmethod
    def forward(ctx, x, weight, lag):
        ctx.save_for_backward(x, weight)
        ctx.lag = lag
        dtype, length = torch.promote_types(x.dtype, weight.dtype), x.shape[1]
        x, weight = x.to(dtype), weight.to(dtype)
        out = torch.zeros_like(x) if lag else x * weight[0]
        for i in range(0 if lag else 1, min(weight.shape[0], length - lag)):
            out[:, lag + i :].addcmul_(x[:, : length - lag - i], weight[i])
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        lag, length, taps = ctx.lag, x.shape[1], weight.shape[0]
        wide, grad_x, grad_weight = weight.to(grad.dtype), None, None
        if ctx.needs_input_grad[0]:
            grad_x = torch.zeros_like(grad) if lag else grad * wide[0]
            for i in range(0 if lag else 1, min(taps, length - lag)):
                grad_x[:, : length - lag - i].addcmul_(grad[:, lag + i :], wide[i])
            grad_x = grad_x.to(x.dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = torch.zeros_like(wide)
            for i in range(min(taps, length - lag)):
                grad_weight[i] = (grad[:, lag + i :] * x[:, : length - lag - i]).sum((0, 1))
            grad_weight = grad_weight.to(weight.dtype)
        return grad_x, grad_weight, None


def last_tokens(x: torch.Tensor, history: torch.Tensor, counts: list[int]) -> torch.Tensor:
    """The newest `history.shape[1]` tokens of each row, of whose new ones `x` only the first counts[row] are real."""
    size = history.shape[1]
    full = torch.cat([history, x.to(history.dtype)], dim=1)
    if all(count == x.shape[1] for count in counts):
        return full[:, full.shape[1] - size :]
    index = torch.tensor(counts, device=x.device)[:, None] + torch.arange(size, device=x.device)
    return full.gather(1, index[..., None].expand(-1, -1, full.shape[2]))


def full_precision(function):
    """Keep autocast, which would run the matrix products in bfloat16, out of a function of tensors."""

    @wraps(function)
    def wrapper(x, *args, **kwargs):
        with torch.autocast(x.device.type, enabled=False):
            return function(x, *args, **kwargs)

    return wrapper


@full_precision
def ssd_chunked(
    x: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor,
    chunk_size: int = 64,
    initial_state: torch.Tensor | None = None,
    start: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The recurrence over many tokens, by matrix products inside chunks and a loop over chunks.

    Args:
        x: (batch, tokens, heads, head_dim). dt: (batch, tokens, heads), >= 0. A, D: (heads,), A < 0.
        B, C: (batch, tokens, groups, state_size). initial_state: (batch, heads, head_dim, state_size).
        start: (batch, tokens) bool, or None where no row holds more than one sequence.

    Returns y of x's shape and dtype, and the state after the last token.
    """
    batch, length, heads, head_dim = x.shape
    groups, size = B.shape[2:]
    dtype = torch.promote_types(x.dtype, torch.float32)
    chunk = min(chunk_size, length)
    padding = -length % chunk
    n = (length + padding) // chunk

    def chunks(tensor, *shape):
        tensor = tensor.to(dtype)
        if padding:
            tensor = F.pad(tensor, [0, 0] * (tensor.dim() - 2) + [0, padding])
        return tensor.reshape(batch, n, chunk, *shape).transpose(2, 3)

    per = heads // groups
    xc = chunks(x, heads, head_dim)  # (batch, n, heads, chunk, head_dim)
    dtc = chunks(dt, heads)  # (batch, n, heads, chunk)
    bc, cc = chunks(B, groups, size), chunks(C, groups, size)  # (batch, n, groups, chunk, size)
    decay = (dtc * A.to(dtype)[:, None]).cumsum(-1)  # log of the decay from the chunk's first token on

    later = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).triu(1)
    if start is None:
        blocked, carried, reaches_end, keeps = later, None, None, None
    else:
        segment = F.pad(start.long(), (0, padding)).reshape(batch, n, 1, chunk).cumsum(-1)
        blocked = later | (segment[..., None] != segment[..., None, :])
        carried = segment == 0
        reaches_end = segment == segment[..., -1:]
        keeps = carried[..., -1]
    weights = torch.exp((decay[..., None] - decay[..., None, :]).masked_fill(blocked, float("-inf")))
    weights = weights.view(batch, n, groups, per, chunk, chunk) * (cc @ bc.mT)[:, :, :, None]
    xdt = xc * dtc[..., None]
    y = weights.view(batch, n, heads, chunk, chunk) @ xdt

    to_end = torch.exp(decay[..., -1:] - decay)
    from_start, through = torch.exp(decay), torch.exp(decay[..., -1])
    if start is not None:
        to_end, from_start = to_end * reaches_end, from_start * carried
        through = through * keeps
    bh = bc.repeat_interleave(per, dim=2)
    added = (xdt * to_end[..., None]).mT @ bh  # (batch, n, heads, head_dim, size)
    state = x.new_zeros(batch, heads, head_dim, size, dtype=dtype) if initial_state is None else initial_state
    state, before = state.to(dtype), []
    for i in range(n):
        before.append(state)
        state = state * through[:, i, :, None, None] + added[:, i]
    ch = cc.repeat_interleave(per, dim=2)
    y = y + (ch @ torch.stack(before, dim=1).mT) * from_start[..., None]
    y = y + xc * D.to(dtype)[:, None, None]
    return y.transpose(2, 3).reshape(batch, n * chunk, heads, head_dim)[:, :length].to(x.dtype), state


@full_precision
def ssd_step(
    x: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor,
    state: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The recurrence for one token: the arguments of `ssd_chunked` without their dimension of tokens.

    Returns y, (batch, heads, head_dim), and the new state.
    """
    dtype = state.dtype
    per = x.shape[1] // B.shape[1]
    xs, dts = x.to(dtype), dt.to(dtype)
    b, c = (tensor.to(dtype).repeat_interleave(per, dim=1) for tensor in (B, C))
    decay = torch.exp(dts * A.to(dtype))
    state = state * decay[..., None, None] + (xs * dts[..., None])[..., None] * b[:, :, None]
    y = (state @ c[..., None])[..., 0] + xs * D.to(dtype)[:, None]
    return y.to(x.dtype), state


def check_fla() -> None:
    """Raises ImportError without the package flash-linear-attention, RuntimeError without a GPU."""
    if find_spec("fla") is None:
        raise ImportError(
            "ssm_backend='fla' needs the package flash-linear-attention: install it, or set ssm_backend='torch'"
        )
    if not torch.cuda.is_available():
        raise RuntimeError("ssm_backend='fla' needs a GPU, and there is none here: set ssm_backend='torch'")


def fla_kernel(device: torch.device):
    """The Triton kernel. Raises ValueError for tensors that are not on a GPU."""
    if device.type != "cuda":
        raise ValueError(
            f"ssm_backend='fla' needs a GPU, not '{device.type}': move the model, or set ssm_backend='torch'"
        )
    try:
        from fla.ops.simple_gla import chunk_simple_gla
    except ImportError as error:
        raise ImportError(f"flash-linear-attention cannot be imported ({error}): set ssm_backend='torch'") from error
    return chunk_simple_gla


@full_precision
def ssd_fla(
    x: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor,
    initial_state: torch.Tensor | None = None,
    start: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`ssd_chunked` by the kernel of flash-linear-attention: gated linear attention, keys B, queries C, values dt x.

    With `start` the rows become one, cut where sequences begin, and no state is returned. Errors: see fla_kernel.
    """
    kernel = fla_kernel(x.device)
    batch, length, heads = x.shape[:3]
    per = heads // B.shape[2]
    wide = torch.promote_types(x.dtype, torch.float32)
    b, c = (tensor.repeat_interleave(per, dim=2).to(x.dtype) for tensor in (B, C))
    inputs = {"q": c, "k": b, "v": (x * dt[..., None]).to(x.dtype), "g": (dt * A).to(wide)}
    if start is not None:
        inputs = {name: tensor.flatten(0, 1)[None] for name, tensor in inputs.items()}
        start = start.clone()
        start[:, 0] = True
        inputs["cu_seqlens"] = F.pad(start.flatten().nonzero()[:, 0], (0, 1), value=batch * length)
    elif initial_state is not None:
        inputs["initial_state"] = initial_state.mT.contiguous().to(wide)
    y, state = kernel(**inputs, scale=1.0, output_final_state=start is None)
    y = y.reshape(x.shape) + x * D[:, None]
    return y.to(x.dtype), None if state is None else state.mT.to(wide)
