"""B'MOJO (arXiv 2407.06324) in PyTorch: layers, the model, and the model with a language-modelling head.

A layer runs a state-space model over its input and attends, in one softmax, to

    the window       tokens (t - W, t]
    fading memory    outputs of the state-space model at (t - 2W, t - W], which summarise everything before them
    eidetic memory   of M tokens from before the chunk, chosen by the innovation test, those beyond the window

Published code has the first two only; what the paper leaves open is said in docs/bmojo.md.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import ModelOutput
from transformers.modeling_utils import slice_logits_to_keep
from transformers.models.llama.modeling_llama import (
    LlamaMLP,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
    rotate_half,
)
from transformers.utils import can_return_tuple
from transformers.utils.generic import merge_with_config_defaults

from .cache_bmojo import BMojoCacheLayer
from .configuration_bmojo import BMojoConfig
from .innovation import NEVER, Innovation, merge, select_chunks, selection_scores
from .layout import Layout, make_layout
from .ssd import causal_conv, check_fla, last_tokens, ssd_chunked, ssd_fla, ssd_step


@dataclass
class BMojoModelOutput(ModelOutput):
    """`innovation_loss`: mean innovation over tokens and layers, for logs; its gradient is attached already."""

    last_hidden_state: torch.FloatTensor | None = None
    past_key_values: DynamicCache | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    innovation_loss: torch.FloatTensor | None = None


@dataclass
class BMojoCausalLMOutput(ModelOutput):
    """`loss` is the cross-entropy alone; see BMojoModelOutput for `innovation_loss`."""

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    past_key_values: DynamicCache | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    innovation_loss: torch.FloatTensor | None = None


class AttachLoss(torch.autograd.Function):
    """Returns `hidden` unchanged; whatever loss is computed from it, its backward pass also minimises `loss`.

    So an auxiliary loss trains where a trainer calls the backbone alone and knows nothing of it. `unused` takes part
    with gradient zero: in distributed training every parameter must, also in a batch too short to reach the memories.
    """

    @staticmethod
    def forward(ctx, hidden, loss, *unused):
        ctx.loss, ctx.unused = loss.new_ones(()), [(x.shape, x.dtype, x.device) for x in unused]
        return hidden.view_as(hidden)

    @staticmethod
    def backward(ctx, grad):
        zeros = (torch.zeros(shape, dtype=dtype, device=device) for shape, dtype, device in ctx.unused)
        return grad, ctx.loss, *zeros


class SideBySide(torch.autograd.Function):
    """What the queries of each chunk may see: its eidetic set, and of each frame two neighbouring chunks.

    Args: window; sets, (batch, heads, n, M, head_dim) or None; frames, (batch, heads, slots, head_dim), of which the
    first (n + 1) * window slots count. Returns (batch * n, heads, M + 2 * window * frames, head_dim). One pass over
    memory each way, where concatenation takes several.
    """

    @staticmethod
    def forward(ctx, n, window, sets, *frames):
        batch, heads, _, size = frames[0].shape
        kept = 0 if sets is None else sets.shape[3]
        ctx.sizes = n, window, kept, [frame.shape for frame in frames]
        out = frames[0].new_empty(batch, n, heads, kept + 2 * window * len(frames), size)
        if kept:
            out[:, :, :, :kept] = sets.transpose(1, 2)
        for i, frame in enumerate(frames):
            chunks = frame[:, :, : (n + 1) * window].unflatten(2, (n + 1, window)).transpose(1, 2)
            begin = kept + 2 * window * i
            out[:, :, :, begin : begin + window] = chunks[:, :-1]
            out[:, :, :, begin + window : begin + 2 * window] = chunks[:, 1:]
        return out.flatten(0, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        n, window, kept, shapes = ctx.sizes
        grad, grads = grad.unflatten(0, (-1, n)), []
        for i, (batch, heads, slots, size) in enumerate(shapes):
            begin = kept + 2 * window * i
            frame = grad.new_empty(batch, heads, slots, size)
            chunks = frame[:, :, : (n + 1) * window].unflatten(2, (n + 1, window)).transpose(1, 2)
            chunks[:, :-1] = grad[:, :, :, begin : begin + window]
            chunks[:, -1] = grad[:, -1, :, begin + window : begin + 2 * window]
            chunks[:, 1:-1] += grad[:, :-1, :, begin + window : begin + 2 * window]
            frame[:, :, (n + 1) * window :] = 0
            grads.append(frame)
        return None, None, grad[:, :, :, :kept].transpose(1, 2) if kept else None, *grads


class BMojoRMSNorm(nn.Module):
    """x / rms(x) * weight, in float32 at least."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class BMojoSSM(nn.Module):
    """Mamba-2's mixer: convolution, recurrence, gate and output projection."""

    def __init__(self, config: BMojoConfig):
        super().__init__()
        self.heads, self.head_dim = config.ssm_num_heads, config.ssm_head_dim
        self.groups, self.state_size = config.ssm_n_groups, config.ssm_state_size
        self.chunk_size, self.backend = config.ssm_chunk_size, config.ssm_backend
        if self.backend == "fla":
            check_fla()
        self.size = self.heads * self.head_dim
        self.conv_size = self.size + 2 * self.groups * self.state_size
        self.in_proj = nn.Linear(config.hidden_size, self.size + self.conv_size + self.heads, bias=False)
        self.conv_weight = nn.Parameter(torch.empty(config.ssm_conv_kernel, self.conv_size))
        self.conv_bias = nn.Parameter(torch.empty(self.conv_size))
        self.A_log = nn.Parameter(torch.empty(self.heads))
        self.dt_bias = nn.Parameter(torch.empty(self.heads))
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = BMojoRMSNorm(self.size, config.rms_norm_eps)
        self.out_proj = nn.Linear(self.size, config.hidden_size, bias=False)

    def forward(self, x: torch.Tensor, layout: Layout, past: dict, keep: dict | None) -> torch.Tensor:
        """x: (batch, tokens, hidden_size). past: the cache's tensors, or empty; new ones go to `keep` if not None."""
        batch, length = x.shape[:2]
        z, mixed, dt = self.in_proj(x).split([self.size, self.conv_size, self.heads], dim=-1)
        if keep is not None:
            history = past.get("conv")
            if history is None:
                history = mixed.new_zeros(batch, self.conv_weight.shape[0] - 1, self.conv_size)
            keep["conv"] = last_tokens(mixed, history, layout.counts)
        mixed = causal_conv(mixed, self.conv_weight, past.get("conv"), layout.conv_position)
        v, b, c = F.silu(mixed + self.conv_bias).split(
            [self.size, self.groups * self.state_size, self.groups * self.state_size], dim=-1
        )
        v = v.view(batch, length, self.heads, self.head_dim)
        b, c = (tensor.view(batch, length, self.groups, self.state_size) for tensor in (b, c))
        wide = torch.promote_types(x.dtype, torch.float32)
        dt = F.softplus(dt.to(wide) + self.dt_bias.to(wide))
        if layout.valid is not None:
            dt = dt * layout.valid[..., None]
        decay = -torch.exp(self.A_log.to(wide))
        state = past.get("ssm")
        if length == 1 and state is not None:
            y, state = ssd_step(v[:, 0], dt[:, 0], decay, b[:, 0], c[:, 0], self.D, state)
            y = y[:, None]
        elif self.backend == "fla":
            y, state = ssd_fla(v, dt, decay, b, c, self.D, state, layout.start)
        else:
            y, state = ssd_chunked(v, dt, decay, b, c, self.D, self.chunk_size, state, layout.start)
        if keep is not None:
            keep["ssm"] = state
        return self.out_proj(self.norm(y.reshape(batch, length, self.size) * F.silu(z)))


class BMojoAttention(nn.Module):
    """Queries of the tokens; keys and values of the window, of SSM outputs and of the eidetic set; one softmax."""

    def __init__(self, config: BMojoConfig):
        super().__init__()
        self.window, self.eidetic_size = config.sliding_window, config.eidetic_size
        self.has_fading, self.compact = bool(config.fading_window), config.eidetic_positions == "compact"
        self.policy, self.threshold = config.eidetic_policy, config.eidetic_threshold
        self.head_dim, self.dropout = config.head_dim, config.attention_dropout
        self.groups = config.num_attention_heads // config.num_key_value_heads
        hidden, queries = config.hidden_size, config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(hidden, queries, bias=config.attention_bias)
        self.k_proj = nn.Linear(hidden, keys, bias=config.attention_bias)
        self.v_proj = nn.Linear(hidden, keys, bias=config.attention_bias)
        self.o_proj = nn.Linear(queries, hidden, bias=config.attention_output_bias)
        self.q_norm = BMojoRMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None
        self.k_norm = BMojoRMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None
        self.qk_conv = nn.Parameter(torch.empty(config.qk_conv, hidden)) if config.qk_conv else None
        untied = self.has_fading and not config.tie_memory_projections
        self.k_fading_proj = nn.Linear(hidden, keys, bias=config.attention_bias) if untied else None
        self.v_fading_proj = nn.Linear(hidden, keys, bias=config.attention_bias) if untied else None

    def forward(
        self,
        x: torch.Tensor,
        s: torch.Tensor | None,
        innovation: torch.Tensor | None,
        layout: Layout,
        rotary: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        past: dict,
        keep: dict | None,
    ) -> torch.Tensor:
        """x, s: (batch, tokens, hidden_size). innovation: (batch, tokens). rotary: cos, sin and inverse frequencies."""
        cos, sin, frequencies = rotary
        mixed = x
        if self.qk_conv is not None:
            mixed = causal_conv(x, self.qk_conv, past.get("qk_conv"), layout.conv_position)
            if keep is not None:
                history = past.get("qk_conv")
                if history is None:
                    history = x.new_zeros(x.shape[0], self.qk_conv.shape[0] - 1, x.shape[2])
                keep["qk_conv"] = last_tokens(x, history, layout.counts)
        query, key = self.split(self.q_proj(mixed), self.q_norm), self.split(self.k_proj(mixed), self.k_norm)
        query, key = apply_rotary_pos_emb(query, key, cos, sin)
        value = self.split(self.v_proj(x))
        new = {"key": key, "value": value}
        if self.has_fading:
            k_proj, v_proj = self.k_fading_proj or self.k_proj, self.v_fading_proj or self.v_proj
            fading_key = self.split(k_proj(s), self.k_norm)
            new["fading_key"] = apply_rotary_pos_emb(fading_key, fading_key, cos, sin)[0]
            new["fading_value"] = self.split(v_proj(s))
        if self.eidetic_size:
            scores = selection_scores(innovation, layout.position, self.policy, self.threshold)
            new["score"] = scores if layout.valid is None else scores.masked_fill(~layout.valid, NEVER)
        if layout.kind == "step":
            out = self.step(query, new, layout, past, keep, frequencies)
        elif layout.kind == "plain":
            out = self.attend(query, key, value)
            if self.has_fading and self.training and torch.is_grad_enabled():
                out = AttachLoss.apply(out, out.new_zeros(()), new["fading_key"], new["fading_value"])
            if keep is not None:
                framed = self.frames(new, layout, past)
                sets = self.eidetic_sets(framed, layout, past) if self.eidetic_size else None
                self.keep_frames(framed, sets, layout, keep)
        else:
            out = self.blocked(query, new, layout, past, keep, frequencies)
        return self.o_proj(out.transpose(1, 2).flatten(2))

    def split(self, x: torch.Tensor, norm: nn.Module | None = None) -> torch.Tensor:
        """(batch, tokens, heads * head_dim) -> (batch, heads, tokens, head_dim)."""
        x = x.unflatten(-1, (-1, self.head_dim))
        return (x if norm is None else norm(x)).transpose(1, 2)

    def attend(self, query, key, value, mask=None):
        """Softmax attention, (rows, heads, queries, head_dim); mask (rows, 1, queries, keys), causal where None.

        Query heads that share a head of keys are laid side by side as its queries: keys are not repeated for them.
        """
        dropout = self.dropout if self.training else 0.0
        if self.groups == 1:
            return F.scaled_dot_product_attention(query, key, value, mask, dropout, is_causal=mask is None)
        length = query.shape[2]
        if mask is None:
            mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()[None, None]
        shared, mask = query.unflatten(1, (-1, self.groups)).flatten(2, 3), mask.repeat(1, 1, self.groups, 1)
        out = F.scaled_dot_product_attention(shared, key, value, mask, dropout)
        return out.unflatten(2, (-1, length)).flatten(1, 2)

    def attend_parts(self, query, keys, values, mask):
        """`attend` of one query a row, whose keys and values lie in several tensors: only their scores are joined."""
        shared = query.unflatten(1, (-1, self.groups)).flatten(2, 3) * self.head_dim**-0.5
        scores = torch.cat([shared @ key.mT for key in keys], dim=-1).masked_fill(~mask, NEVER)
        weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(query.dtype)
        weights = F.dropout(weights, self.dropout, self.training).split([key.shape[2] for key in keys], dim=-1)
        out = sum(weight @ value for weight, value in zip(weights, values, strict=True))
        return out.flatten(1, 2)[:, :, None]

    def frames(self, new: dict, layout: Layout, past: dict) -> dict:
        """Cached and new tokens side by side, from one chunk (fading: two) before the first chunk of queries on.

        Each is (batch, heads, (n + 1 or n + 2) * W, head_dim), scores without heads and head_dim.
        """
        window, n, device = self.window, layout.num_chunks, layout.position.device
        framed = {}
        for name, tensor in new.items():
            is_score = name == "score"
            chunks = 2 if name.startswith("fading") else 1
            if not past:
                front, back = chunks * window, n * window - layout.position.shape[1]
                pad = (front, back) if is_score else (0, 0, front, back)
                framed[name] = F.pad(tensor, pad, value=NEVER if is_score else 0.0)
                continue
            slots = torch.arange((n + chunks) * window, device=device)
            begin = torch.tensor([chunks * window + offset for offset in layout.offsets], device=device)[:, None]
            ends = begin + torch.tensor(layout.counts, device=device)[:, None]
            cached = past[name].shape[1 if is_score else 2]
            index = torch.where(slots < begin, slots, cached + (slots - begin).clamp(0, layout.position.shape[1] - 1))
            pool = torch.cat([past[name], tensor.to(past[name].dtype)], dim=1 if is_score else 2)
            framed[name] = pool.gather(1, index).masked_fill(slots >= ends, NEVER) if is_score else take(pool, index)
        return framed

    def blocked(self, query, new, layout, past, keep, frequencies):
        """Attention of whole chunks of queries: for each, its own chunk and the two before it, and its eidetic set."""
        window, n = self.window, layout.num_chunks
        length = layout.position.shape[1]
        framed = self.frames(new, layout, past)
        aligned = not any(layout.offsets)
        if aligned:
            query = F.pad(query, (0, 0, 0, n * window - length))
        else:
            offsets = torch.tensor(layout.offsets, device=query.device)[:, None]
            slots = torch.arange(n * window, device=query.device)
            query = take(query, (slots - offsets).clamp(0, length - 1))
        chunk_index = layout.chunk_index
        i = torch.arange(window, device=query.device)[:, None]
        masks = [self.band(chunk_index[:, :n], 1, i)]
        keys, values = [framed["key"]], [framed["value"]]
        if self.has_fading:
            keys.insert(0, framed["fading_key"])
            values.insert(0, framed["fading_value"])
            masks.insert(0, self.band(chunk_index[:, :n], 2, i))
        eidetic = kept_keys = kept_values = None
        if self.eidetic_size:
            eidetic = self.eidetic_sets(framed, layout, past)
            position, full = eidetic["position"][:, :n], eidetic["score"][:, :n] != NEVER
            kept_keys = self.place(eidetic["key"][:, :, :n], position, chunk_index[:, :n], frequencies)
            kept_values = eidetic["value"][:, :, :n]
            beyond = position[:, :, None] <= (chunk_index[:, :n, None, None] - 1) * window + i
            masks.insert(0, full[:, :, None] & beyond)
        mask = torch.cat([part.expand(query.shape[0], -1, -1, -1) for part in masks], dim=-1)
        out = self.attend(
            query.unflatten(2, (n, window)).transpose(1, 2).flatten(0, 1),
            SideBySide.apply(n, window, kept_keys, *keys),
            SideBySide.apply(n, window, kept_values, *values),
            mask.flatten(0, 1)[:, None],
        )
        out = out.unflatten(0, (-1, n)).transpose(1, 2).flatten(2, 3)
        if keep is not None:
            self.keep_frames(framed, eidetic, layout, keep)
        if aligned:
            return out[:, :, :length]
        return take(out, (offsets + torch.arange(length, device=out.device)).clamp(max=n * window - 1))

    def band(self, chunk_index: torch.Tensor, before: int, i: torch.Tensor) -> torch.Tensor:
        """(batch, n, queries, 2W) bool: of the two chunks that begin `before` chunks earlier, the slots a query sees.

        Query i of a chunk sees slots i + 1 to i + W: the tokens (t - W, t] of the window, or (t - 2W, t - W] of the
        fading memory. i broadcasts against (batch, n, queries, 1).
        """
        slot = torch.arange(2 * self.window, device=chunk_index.device)
        exists = chunk_index[..., None] + slot // self.window >= before
        return exists[:, :, None] & ((slot > i) & (slot <= i + self.window))

    def eidetic_sets(self, framed: dict, layout: Layout, past: dict) -> dict:
        """Each chunk's set: keys, values (batch, heads, n + 1, M, head_dim), scores, positions (batch, n + 1, M)."""
        batch, size = layout.position.shape[0], self.eidetic_size
        key, value, scores = framed["key"], framed["value"], framed["score"]
        first = (layout.chunk_index[:, :1] - 1) * self.window
        if layout.packed:  # slots hold several sequences: the chunk before the first is never chosen from
            position = F.pad(layout.position, (self.window, 0))
        else:
            position = first + torch.arange(scores.shape[1], device=scores.device)
        if past:
            kept = past["eidetic_score"]
            key, value = (torch.cat([past[f"eidetic_{n}"], t], dim=2) for n, t in (("key", key), ("value", value)))
            position = torch.cat([past["eidetic_position"], position], dim=1)
        else:
            kept = scores.new_full((batch, size), NEVER)
            key, value = F.pad(key, (0, 0, size, 0)), F.pad(value, (0, 0, size, 0))
            position = F.pad(position, (size, 0))
        best, index = select_chunks(kept, scores, layout.chunk_index, self.window)
        flat = index.flatten(1)
        return {
            "key": take(key, flat).unflatten(2, index.shape[1:]),
            "value": take(value, flat).unflatten(2, index.shape[1:]),
            "score": best,
            "position": position.gather(1, flat).unflatten(1, index.shape[1:]),
        }

    def place(self, key, position, chunk_index, frequencies):
        """Eidetic keys at the positions that attention gives them. key: (batch, heads, n, M, head_dim)."""
        if not self.compact:
            return key
        places = torch.arange(-self.eidetic_size, 0, device=key.device)
        moved = (chunk_index[..., None] - 2) * self.window + 1 + places - position
        angle = moved[:, None, ..., None].to(torch.float32) * frequencies.to(torch.float32)
        angle = torch.cat([angle, angle], dim=-1)
        return key * angle.cos().to(key.dtype) + rotate_half(key) * angle.sin().to(key.dtype)

    def keep_frames(self, framed: dict, eidetic: dict | None, layout: Layout, keep: dict) -> None:
        """What the next call needs, from the chunk that it begins in: see BMojoCacheLayer."""
        device = layout.position.device
        ends = [past + count for past, count in zip(layout.past, layout.counts, strict=True)]
        moved = [end // self.window - past // self.window for end, past in zip(ends, layout.past, strict=True)]
        moved = torch.tensor(moved, device=device)[:, None]
        for name, tensor in framed.items():
            is_score = name == "score"
            tensor = F.pad(tensor, (0, self.window) if is_score else (0, 0, 0, self.window))
            width = (3 if name.startswith("fading") else 2) * self.window
            index = moved * self.window + torch.arange(width, device=device)
            keep[name] = tensor.gather(1, index) if is_score else take(tensor, index)
        if eidetic is not None:
            rows = torch.arange(moved.shape[0], device=device)
            for name, tensor in eidetic.items():
                tensor = tensor if tensor.dim() == 3 else tensor.transpose(1, 2)
                keep[f"eidetic_{name}"] = tensor[rows, moved[:, 0]]

    def step(self, query, new, layout, past, keep, frequencies):
        """One token a row: written into the cached chunks, then attention over them and the eidetic set."""
        window, device = self.window, query.device
        offsets = layout.offsets
        # In place, except where autograd may still need the old tensors.
        cached = {name: past[name].clone() if torch.is_grad_enabled() else past[name] for name in new}
        rows = torch.arange(len(offsets), device=device)
        for name, tensor in new.items():
            begin = (2 if name.startswith("fading") else 1) * window
            tensor = tensor.to(cached[name].dtype)
            if len(set(offsets)) == 1:
                slot = begin + offsets[0]
                if name == "score":
                    cached[name][:, slot] = tensor[:, 0]
                else:
                    cached[name][:, :, slot] = tensor[:, :, 0]
            elif name == "score":
                cached[name][rows, begin + torch.tensor(offsets, device=device)] = tensor[:, 0]
            else:
                cached[name][rows, :, begin + torch.tensor(offsets, device=device)] = tensor[:, :, 0]
        chunk_index = layout.chunk_index[:, :1]
        i = torch.tensor(offsets, device=device)[:, None, None, None]
        keys, values = [cached["key"]], [cached["value"]]
        masks = [self.band(chunk_index, 1, i)[:, 0, 0]]
        if self.has_fading:
            keys.insert(0, cached["fading_key"][:, :, : 2 * window])
            values.insert(0, cached["fading_value"][:, :, : 2 * window])
            masks.insert(0, self.band(chunk_index, 2, i)[:, 0, 0])
        if self.eidetic_size:
            position = past["eidetic_position"][:, None]
            keys.insert(0, self.place(past["eidetic_key"][:, :, None], position, chunk_index, frequencies)[:, :, 0])
            values.insert(0, past["eidetic_value"])
            beyond = past["eidetic_position"] <= layout.position - window
            masks.insert(0, (past["eidetic_score"] != NEVER) & beyond)
        out = self.attend_parts(query, keys, values, torch.cat(masks, dim=-1)[:, None, None])
        keep.update(cached)
        full = [row for row, offset in enumerate(offsets) if offset == window - 1]
        if full:
            self.roll(cached, layout, past, keep, torch.tensor(full, device=device))
        return out

    def roll(self, cached: dict, layout: Layout, past: dict, keep: dict, rows: torch.Tensor) -> None:
        """The chunk of these rows is full: it is offered to the eidetic set, and the oldest one leaves the frames."""
        window = self.window
        if self.eidetic_size:
            size = self.eidetic_size
            scores = cached["score"][rows, window:]
            first = layout.chunk_index[rows, :1] * window
            pool = {name: torch.cat([past[f"eidetic_{name}"][rows], cached[name][rows, :, window:]], dim=2)
                    for name in ("key", "value")}  # fmt: skip
            steps = torch.arange(window, device=rows.device)
            places = torch.cat([past["eidetic_position"][rows], first + steps], dim=1)
            kept = torch.arange(size, device=rows.device).expand(len(rows), -1)
            best, index = merge(past["eidetic_score"][rows], kept, scores, size + steps)
            updated = {name: take(tensor, index) for name, tensor in pool.items()}
            updated |= {"score": best, "position": places.gather(1, index)}
            for name, tensor in updated.items():
                keep[f"eidetic_{name}"] = replaced(past[f"eidetic_{name}"], rows, tensor)
        for name, tensor in cached.items():
            moved = tensor[rows].roll(-window, dims=1 if name == "score" else 2)
            if name == "score":
                moved[:, -window:] = NEVER
            keep[name] = replaced(tensor, rows, moved)


def replaced(x: torch.Tensor, rows: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """x with these rows exchanged: in place, except where autograd may still need the old ones."""
    return x.index_copy(0, rows, new) if torch.is_grad_enabled() else x.index_copy_(0, rows, new)


def take(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """x: (batch, heads, slots, size), index: (batch, k) -> (batch, heads, k, size)."""
    return x.gather(2, index[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))


class BMojoDecoderLayer(GradientCheckpointingLayer):
    """h += attention(norm(h)) [+ SSM]; h += MLP(norm(h))."""

    def __init__(self, config: BMojoConfig, layer_idx: int):
        super().__init__()
        self.layer_idx = layer_idx
        self.ssm_residual, self.loss_coef = config.ssm_residual, config.innovation_loss_coef
        self.has_fading, self.eidetic_size = bool(config.fading_window), config.eidetic_size
        self.input_layernorm = BMojoRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = BMojoAttention(config)
        self.ssm = BMojoSSM(config) if config.has_ssm else None
        self.kernel = kernel = config.innovation_kernel
        rank = config.innovation_rank if config.innovation_target == "input" else 0
        sizes = (config.hidden_size, kernel, config.rms_norm_eps, rank)
        self.innovation = Innovation(*sizes) if config.eidetic_size else None
        if config.intermediate_size:
            self.post_attention_layernorm = BMojoRMSNorm(config.hidden_size, config.rms_norm_eps)
            self.mlp = LlamaMLP(config)
        else:
            self.mlp = None

    def forward(
        self,
        hidden_states: torch.Tensor,
        layout: Layout,
        rotary: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        past_key_values: DynamicCache | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """hidden_states: (batch, tokens, hidden_size). Returns them and the layer's innovation loss, detached."""
        cache = None if past_key_values is None else past_key_values.layers[self.layer_idx]
        past, keep = ({}, None) if cache is None else (cache.tensors, {})
        x = self.input_layernorm(hidden_states)
        s = innovation = loss = None
        if self.ssm is not None:
            s = self.ssm(x, layout, past, keep)
        if self.innovation is not None:
            innovation, r = self.innovation(s, hidden_states, past.get("past"), layout.conv_position)
            if keep is not None:
                history = past.get("past")
                if history is None:
                    history = r.new_zeros(r.shape[0], self.kernel, r.shape[2])
                keep["past"] = last_tokens(r, history, layout.counts)
            loss = innovation.mean()
            if layout.valid is not None:
                loss = (innovation * layout.valid).sum() / layout.valid.sum().clamp(min=1)
        attended = self.self_attn(x, s, innovation, layout, rotary, past, keep)
        if self.training and torch.is_grad_enabled() and s is not None:
            weighted = s.new_zeros(()) if loss is None else self.loss_coef * loss
            attended = AttachLoss.apply(attended, weighted, s)
        hidden_states = hidden_states + attended
        if self.ssm_residual:
            hidden_states = hidden_states + s
        if self.mlp is not None:
            hidden_states = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
        if cache is not None:
            ends = [past + count for past, count in zip(layout.past, layout.counts, strict=True)]
            cache.store(keep, ends, layout.position.shape[1] if layout.slot is None else layout.slot.shape[1])
        return hidden_states, None if loss is None else loss.detach()


class BMojoPreTrainedModel(PreTrainedModel):
    config: BMojoConfig
    config_class = BMojoConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["BMojoDecoderLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _is_stateful = True

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, BMojoRMSNorm):
            init.ones_(module.weight)
        elif isinstance(module, BMojoSSM):
            bound = module.conv_weight.shape[0] ** -0.5
            init.uniform_(module.conv_weight, -bound, bound)
            init.zeros_(module.conv_bias)
            init.ones_(module.D)
            heads = torch.empty(module.heads, dtype=torch.float32)
            init.copy_(module.A_log, heads.uniform_(1, 16).log())
            dt = torch.exp(torch.empty_like(heads).uniform_(-6.9, -2.3))  # between 0.001 and 0.1
            init.copy_(module.dt_bias, dt + torch.log(-torch.expm1(-dt)))  # softplus(dt_bias) = dt
        elif isinstance(module, Innovation):
            last_value = torch.zeros_like(module.weight, device="cpu")
            last_value[0] = 1.0
            init.copy_(module.weight, last_value)
            if module.down is not None:  # small, but not zero: equal innovations would be ties
                for part in (module.down, module.up):
                    init.normal_(part, std=part.shape[1] ** -0.5 / 4)
                init.zeros_(module.bias)
        elif isinstance(module, BMojoAttention) and module.qk_conv is not None:
            identity = torch.zeros_like(module.qk_conv, device="cpu")
            identity[0] = 1.0
            init.copy_(module.qk_conv, identity)

    def init_continuous_batching(self, *args, **kwargs):
        raise ValueError("B'MOJO does not support continuous batching: use generate() with a padded batch")


class BMojoModel(BMojoPreTrainedModel):
    """The layers between embeddings and the final norm."""

    def __init__(self, config: BMojoConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(BMojoDecoderLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = BMojoRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config)
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple
    @merge_with_config_defaults
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: DynamicCache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        seq_idx: torch.LongTensor | None = None,
        cu_seq_lens_q: torch.LongTensor | None = None,
        **kwargs,
    ) -> BMojoModelOutput:
        """
        attention_mask: (batch, tokens seen and new), 0 at padding on either side.
        position_ids: only their jumps matter, which mark packed sequences (where no mask is given); tokens are counted
            from the first of their sequence.
        seq_idx, cu_seq_lens_q: packed sequences, as TRL's collator gives them. Packed batches fill no cache.

        Raises ValueError for a cache of another model and for a mask of more than two dimensions.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        batch, length = inputs_embeds.shape[:2]
        if attention_mask is not None:
            if attention_mask.dim() != 2:
                raise ValueError("attention_mask must be (batch, tokens): B'MOJO makes its own masks for each chunk")
            attention_mask = attention_mask[:, -length:]
        past = self.lengths_of(past_key_values, batch)
        start = None
        if past is None:
            start = packed_starts(batch, length, attention_mask, position_ids, seq_idx, cu_seq_lens_q)
        if start is not None:
            past_key_values = None
        elif use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        layout = make_layout(
            self.config.sliding_window, batch, length, inputs_embeds.device, attention_mask, start, past
        )
        hidden_states = layout.to_rows(inputs_embeds)
        rotary = (*self.rotary_emb(hidden_states, position_ids=layout.position), self.rotary_emb.inv_freq)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        losses, collected = [], []
        for layer in self.layers:
            if output_hidden_states:
                collected.append(layout.to_given(hidden_states))
            hidden_states, loss = layer(hidden_states, layout, rotary, past_key_values)
            losses.append(loss)
        hidden_states = layout.to_given(self.norm(hidden_states))
        return BMojoModelOutput(
            last_hidden_state=hidden_states,
            past_key_values=past_key_values,
            hidden_states=(*collected, hidden_states) if output_hidden_states else None,
            innovation_loss=torch.stack(losses).mean() if self.config.eidetic_size else None,
        )

    def lengths_of(self, cache, batch: int) -> list[int] | None:
        """Tokens that each row of a cache has seen; None for none. Raises ValueError for a cache that does not fit."""
        if cache is None:
            return None
        layers = getattr(cache, "layers", [])
        # By name: where a model was loaded with trust_remote_code, the class of its cache exists twice.
        if len(layers) != len(self.layers) or any(
            getattr(layer, "_layer_type", None) != BMojoCacheLayer._layer_type for layer in layers
        ):
            raise ValueError(
                "past_key_values is a cache of another model: make one with DynamicCache(config=model.config)"
            )
        if not layers[0].is_initialized:
            return None
        tensors, config = layers[0].tensors, self.config
        heads, slots, size = tensors["key"].shape[1:]
        if (
            (heads, slots, size) != (config.num_key_value_heads, 2 * config.sliding_window, config.head_dim)
            or ("fading_key" in tensors) != bool(config.fading_window)
            or (tensors["eidetic_score"].shape[1] if "eidetic_score" in tensors else 0) != config.eidetic_size
        ):
            raise ValueError(
                "past_key_values is the cache of a B'MOJO of another size: make one with this model's config"
            )
        if len(layers[0].lengths) != batch:
            raise ValueError(f"past_key_values holds {len(layers[0].lengths)} rows, the input {batch}")
        return layers[0].lengths


def packed_starts(batch, length, attention_mask, position_ids, seq_idx, cu_seq_lens) -> torch.Tensor | None:
    """(batch, length) bool, first tokens of packed sequences; None where every row is one sequence."""
    if seq_idx is not None:
        start = F.pad((seq_idx[:, 1:] != seq_idx[:, :-1]).long(), (1, 0)).bool()
    elif cu_seq_lens is not None and batch == 1:
        start = torch.zeros(1, length + 1, dtype=torch.bool, device=cu_seq_lens.device)
        start = start.index_fill(1, cu_seq_lens.long(), True)[:, :length]
    elif attention_mask is None and position_ids is not None and position_ids.shape[-1] == length:
        position_ids = position_ids.expand(batch, -1)
        start = F.pad((position_ids[:, 1:] != position_ids[:, :-1] + 1).long(), (1, 0)).bool()
    else:
        return None
    return start if bool(start[:, 1:].any()) else None


class BMojoForCausalLM(BMojoPreTrainedModel, GenerationMixin):
    """BMojoModel with a language-modelling head."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: BMojoConfig):
        super().__init__(config)
        self.model = BMojoModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: DynamicCache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs,
    ) -> BMojoCausalLMOutput:
        """As in other causal language models; see BMojoModel.forward for padded and packed batches."""
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        hidden_states = slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep)
        logits = self.lm_head(hidden_states)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return BMojoCausalLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            innovation_loss=outputs.innovation_loss,
        )


__all__ = ["BMojoForCausalLM", "BMojoModel", "BMojoPreTrainedModel"]
