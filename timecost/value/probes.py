"""Probes: at the step boundaries of a trace, close the thinking, let the model answer, verify.

What comes back are anytime values: how often an answer is right when thinking is closed there. They are the targets of
the value head. `score_answers` takes the probability of the one right answer, exact and in a single forward for all
boundaries of a trace where the model is attention alone; `sample_answers` samples answers and asks a verifier, for any
task. A boundary without a probe has the value NaN.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from timecost.errors import UserError

MOST_TOKENS = 2**16  # of a batch whose states are read
PACKED = ("gemma", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3", "smollm3")  # attend where a mask says


@dataclass(frozen=True)
class StepRule:
    """Where a step of thinking ends: `offset` tokens behind one of `token_ids`, and every `every` tokens if not 0."""

    token_ids: tuple[int, ...] = ()
    offset: int = 0
    every: int = 0


def step_rule(tokenizer, step_end: tuple[str, int] | None = None) -> StepRule:
    """The rule for a tokenizer. `step_end` is the text of a token and the number of tokens that still follow it.

    Without it: behind tokens that hold an empty line, else a line's end, else every 16 tokens.
    """
    if step_end is not None:
        return StepRule(tuple(tokenizer.encode(step_end[0], add_special_tokens=False)), step_end[1])
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
    for mark in ("\n\n", "\n"):
        if ids := tuple(i for i, text in enumerate(texts) if mark in text):
            return StepRule(ids)
    return StepRule(every=16)


def step_boundaries(thinking_ids: list[int], rule: StepRule) -> list[int]:
    """Numbers of thinking tokens behind which a step has ended, 0 among them, in rising order.

    The last may be all of the thinking: whether the model goes on from there is not known there.
    """
    ids = set(rule.token_ids)
    ends = [
        i
        for i in range(1, len(thinking_ids) + 1)
        if (i > rule.offset and thinking_ids[i - 1 - rule.offset] in ids) or (rule.every and i % rule.every == 0)
    ]
    return [0, *ends]


@dataclass(frozen=True)
class Trace:
    """A sampled thought in token ids. `natural`: it ended by itself; else it was cut at the limit."""

    problem: int
    prompt_ids: list[int]
    thinking_ids: list[int]
    natural: bool
    boundaries: list[int]


def read_trace(
    problem: int, prompt_ids, completion_ids, think_end_id: int, eos_ids, rule: StepRule, limit: int
) -> Trace:
    """The thinking of a completion, cut at `limit` tokens, and its boundaries."""
    ends = [i for i, token in enumerate(completion_ids[: limit + 1]) if token == think_end_id or token in eos_ids]
    thinking = list(completion_ids[: ends[0] if ends else limit])
    return Trace(problem, list(prompt_ids), thinking, bool(ends), step_boundaries(thinking, rule))


@dataclass(frozen=True)
class ProbedTraces:
    """T traces and their N boundaries, ordered by trace and position. Tensors on the CPU.

    `value` (N,) and `end_value` (T,) are chances of a right answer in [0, 1], NaN where unknown; a trace that was cut
    has the value of an answer forced at the cut. Positions and `num_thinking` are in tokens. `confidence`, `entropy`
    (nats) and `answer` (token id) are of the likeliest first token of the answer, NaN and -1 without a probe; `agreed`
    counts the boundaries in a row, this one included, with that `answer`.
    """

    problem: Tensor  # (T,)
    num_thinking: Tensor  # (T,)
    natural: Tensor  # (T,)
    end_value: Tensor  # (T,)
    trace: Tensor  # (N,) index into the T traces
    position: Tensor  # (N,)
    value: Tensor  # (N,)
    hidden: Tensor  # (N, H) state of the last token before the boundary
    closing: Tensor  # (N, H) state of the closing token, were it written there; NaN without a probe
    confidence: Tensor  # (N,)
    entropy: Tensor  # (N,)
    answer: Tensor  # (N,)
    agreed: Tensor  # (N,)

    def __len__(self) -> int:
        return len(self.trace)

    def select(self, keep: Tensor) -> "ProbedTraces":
        """The traces where `keep` (T,) is true, with their points."""
        rows = keep[self.trace]
        new = torch.cumsum(keep.long(), 0) - 1
        of_traces = {name: getattr(self, name)[keep] for name in TRACE_FIELDS}
        of_points = {name: getattr(self, name)[rows] for name in POINT_FIELDS}
        return ProbedTraces(**of_traces, **{**of_points, "trace": new[of_points["trace"]]})

    def save(self, path) -> None:
        from safetensors.torch import save_file

        save_file({field.name: getattr(self, field.name).contiguous() for field in fields(self)}, path)

    @classmethod
    def load(cls, path) -> "ProbedTraces":
        from safetensors.torch import load_file

        return cls(**load_file(path))


TRACE_FIELDS = ("problem", "num_thinking", "natural", "end_value")
POINT_FIELDS = ("trace", "position", "value", "hidden", "closing", "confidence", "entropy", "answer", "agreed")


def agreement(trace: Tensor, answer: Tensor) -> Tensor:
    """How many boundaries in a row, this one included, gave the same answer, (N,); no answer, -1, agrees with none."""
    index = torch.arange(len(trace))
    same = (trace[1:] == trace[:-1]) & (answer[1:] == answer[:-1]) & (answer[1:] != -1)
    began = torch.where(torch.cat([torch.tensor([False])[: len(trace)], same]), 0, index).cummax(0).values
    return index - began + 1


def join(parts: list[ProbedTraces]) -> ProbedTraces:
    """All traces of several sets. Problems keep their numbers: the same number is the same problem."""
    offsets = [0, *torch.tensor([len(part.problem) for part in parts]).cumsum(0).tolist()]
    parts = [replace(part, trace=part.trace + offset) for part, offset in zip(parts, offsets, strict=False)]
    return ProbedTraces(
        **{name: torch.cat([getattr(p, name) for p in parts]) for name in (*TRACE_FIELDS, *POINT_FIELDS)}
    )


def choose_boundaries(traces: list[Trace], max_probes: int | None, seed: int) -> list[set[int]]:
    """The positions of each trace to probe: its end, and at most `max_probes` boundaries drawn at random."""
    rng = random.Random(seed)
    chosen = []
    for trace in traces:
        few = max_probes is not None and max_probes < len(trace.boundaries)
        chosen.append({*(rng.sample(trace.boundaries, max_probes) if few else trace.boundaries)})
    return chosen


@torch.inference_mode()
def score_answers(
    model,
    traces: list[Trace],
    answers: list[list[int] | None],
    close_ids: list[int],
    eos_id: int,
    *,
    max_probes: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
    packed: bool | None = None,
) -> ProbedTraces:
    """Probe by the probability of the right answer, exactly those tokens and the end of sequence.

    `answers` are token ids, None for a problem that no answer solves. `close_ids` end the thinking. `packed`: all
    boundaries of a trace in one forward, behind each other under a mask (default: where the model allows it).
    """
    if packed is None:
        packed = attends_alone(model)
    was_training = model.training
    model.eval()
    probes = choose_boundaries(traces, max_probes, seed)
    order = sorted(range(len(traces)), key=lambda i: len(traces[i].prompt_ids) + len(traces[i].thinking_ids))
    found: list = [None] * len(traces)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        score = _score_packed if packed else _score_plain
        arguments = [(traces[i], answers[i], sorted({*probes[i], len(traces[i].thinking_ids)})) for i in batch]
        for i, scored in zip(batch, score(model, arguments, close_ids, eos_id), strict=True):
            found[i] = scored
    model.train(was_training)
    return _assemble(traces, probes, found)


def _branch(answer: list[int] | None, close_ids: list[int]) -> list[int]:
    return [*close_ids, *(answer or [])]


def _score_packed(model, rows, close_ids, eos_id):
    """Each sequence is prompt, thinking, then one branch (closing, answer) per probe, which sees what is before it."""
    lengths = [
        len(t.prompt_ids) + len(t.thinking_ids) + len(at) * len(_branch(answer, close_ids)) for t, answer, at in rows
    ]
    size = max(lengths)
    input_ids = torch.full((len(rows), size), eos_id)
    position_ids = torch.zeros_like(input_ids)
    visible = torch.eye(size, dtype=torch.bool).repeat(len(rows), 1, 1)
    for row, (trace, answer, positions) in enumerate(rows):
        ids = [*trace.prompt_ids, *trace.thinking_ids]
        trunk, branch, prompt = len(ids), _branch(answer, close_ids), len(trace.prompt_ids)
        input_ids[row, :trunk] = torch.tensor(ids)
        position_ids[row, :trunk] = torch.arange(trunk)
        visible[row, :trunk, :trunk] = torch.ones(trunk, trunk, dtype=torch.bool).tril()
        for k, position in enumerate(positions):
            at = slice(trunk + k * len(branch), trunk + (k + 1) * len(branch))
            input_ids[row, at] = torch.tensor(branch)
            position_ids[row, at] = torch.arange(prompt + position, prompt + position + len(branch))
            visible[row, at, : prompt + position] = True
            visible[row, at, at] = torch.ones(len(branch), len(branch), dtype=torch.bool).tril()
    mask = torch.zeros(visible.shape, dtype=model.dtype).masked_fill(~visible, torch.finfo(model.dtype).min)[:, None]
    states = backbone_of(model)(
        input_ids=input_ids.to(model.device), position_ids=position_ids.to(model.device),
        attention_mask=mask.to(model.device), use_cache=False,
    ).last_hidden_state  # fmt: skip
    scored = []
    for row, (trace, answer, positions) in enumerate(rows):
        prompt, trunk = len(trace.prompt_ids), len(trace.prompt_ids) + len(trace.thinking_ids)
        length = len(_branch(answer, close_ids))
        branches = states[row, trunk : trunk + len(positions) * length].view(len(positions), length, -1)
        answering = branches[:, len(close_ids) - 1 :]
        logits = model.get_output_embeddings()(answering).float()
        hidden = states[row, [prompt - 1 + position for position in trace.boundaries]].float().cpu()
        scored.append((positions, *_read_logits(logits, answer, eos_id), answering[:, 0].float().cpu(), hidden))
    return scored


def _score_plain(model, rows, close_ids, eos_id):
    """One sequence per probe."""
    scored = []
    for trace, answer, positions in rows:
        trunk = torch.tensor([[*trace.prompt_ids, *trace.thinking_ids]], device=model.device)
        states = backbone_of(model)(input_ids=trunk, use_cache=False).last_hidden_state[0]
        branch, prompt = _branch(answer, close_ids), len(trace.prompt_ids)
        sequences = [[*trace.prompt_ids, *trace.thinking_ids[:position], *branch] for position in positions]
        width = max(map(len, sequences))
        input_ids = torch.full((len(sequences), width), eos_id)
        mask = torch.zeros_like(input_ids)
        for k, ids in enumerate(sequences):
            input_ids[k, width - len(ids) :], mask[k, width - len(ids) :] = torch.tensor(ids), 1
        with StateReader(model) as reader:
            logits = model(input_ids=input_ids.to(model.device), attention_mask=mask.to(model.device)).logits.float()
            at = width - len(answer or []) - 1
            closing = reader.states[:, at].float().cpu()
        hidden = states[[prompt - 1 + position for position in trace.boundaries]].float().cpu()
        scored.append((positions, *_read_logits(logits[:, at:], answer, eos_id), closing, hidden))
    return scored


def _read_logits(logits: Tensor, answer: list[int] | None, eos_id: int):
    """Value, confidence, entropy and likeliest token, each (probes,), of logits (probes, 1 + answer tokens, V)."""
    if answer is None:
        value = torch.zeros(len(logits))
    else:
        target = torch.tensor([*answer, eos_id], device=logits.device).expand(len(logits), -1)
        value = logits.log_softmax(-1).gather(2, target[..., None])[..., 0].sum(1).exp()
    return [tensor.cpu() for tensor in (value, *sureness(logits[:, 0]))]


def _assemble(traces: list[Trace], probes: list[set[int]], found: list) -> ProbedTraces:
    columns: dict[str, list] = {name: [] for name in (*TRACE_FIELDS, *POINT_FIELDS)}
    for i, (trace, chosen, (positions, value, confidence, entropy, answer, closing, hidden)) in enumerate(
        zip(traces, probes, found, strict=True)
    ):
        index = {position: k for k, position in enumerate(positions)}
        length = len(trace.thinking_ids)
        at = torch.tensor([index.get(b, -1) if b in chosen else -1 for b in trace.boundaries])
        probed = at >= 0
        nan = torch.full((len(at),), torch.nan)
        columns["problem"].append(torch.tensor([trace.problem]))
        columns["num_thinking"].append(torch.tensor([length]))
        columns["natural"].append(torch.tensor([trace.natural]))
        columns["end_value"].append(value[index[length]].view(1))
        columns["trace"].append(torch.full((len(at),), i))
        columns["position"].append(torch.tensor(trace.boundaries))
        columns["value"].append(torch.where(probed, value[at], nan))
        columns["hidden"].append(hidden)
        columns["closing"].append(torch.where(probed[:, None], closing[at], torch.nan))
        columns["confidence"].append(torch.where(probed, confidence[at], nan))
        columns["entropy"].append(torch.where(probed, entropy[at], nan))
        columns["answer"].append(torch.where(probed, answer[at], -1))
        columns["agreed"].append(agreement(columns["trace"][-1], columns["answer"][-1]))
    return ProbedTraces(**{name: torch.cat(values) for name, values in columns.items()})


def sample_answers(
    model,
    tokenizer,
    traces: list[Trace],
    verify: Callable[[list[str], list[int]], list[float | None]],
    sample: Callable[[list[list[int]]], list[list[int]]],
    close_ids: list[int],
    *,
    num_samples: int = 4,
    max_probes: int | None = None,
    seed: int = 0,
) -> ProbedTraces:
    """Probe by sampled answers.

    `sample` takes token ids and returns what the model writes behind each, the end of sequence cut off or not.
    `verify(completions, problems)` scores texts of thinking, closing and answer, None where it could not judge. The
    answers of a trace's end are sampled like those of its boundaries.
    """
    probes = choose_boundaries(traces, max_probes, seed)
    positions = [sorted({*chosen, len(t.thinking_ids)}) for t, chosen in zip(traces, probes, strict=True)]
    prefixes, opened, problems = [], [], []
    for trace, at in zip(traces, positions, strict=True):
        for position in at:
            thinking = [*trace.thinking_ids[:position], *close_ids]
            prefixes += [[*trace.prompt_ids, *thinking]] * num_samples
            opened += [thinking] * num_samples
            problems += [trace.problem] * num_samples
    written = sample(prefixes)
    texts = tokenizer.batch_decode([[*a, *b] for a, b in zip(opened, written, strict=True)], skip_special_tokens=True)
    scores = [torch.nan if score is None else float(score) for score in verify(texts, problems)]
    found, start = [], 0
    for trace, at, states in zip(traces, positions, states_at(model, traces), strict=True):
        rows = [slice(start + k * num_samples, start + (k + 1) * num_samples) for k in range(len(at))]
        start += len(at) * num_samples
        value = torch.stack([torch.tensor(scores[row]).nanmean() for row in rows])
        closing = closing_states(model, trace, at, close_ids)
        with torch.inference_mode():
            logits = model.get_output_embeddings()(closing.to(model.device, model.dtype)).cpu()
        found.append((at, value, *sureness(logits), closing, states))
    return _assemble(traces, probes, found)


def sureness(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Confidence, entropy in nats, and id of the likeliest token, each (B,), of logits (B, V)."""
    log_probs = logits.float().log_softmax(-1)
    likeliest = log_probs.max(-1)
    return likeliest.values.exp(), -(log_probs.exp() * log_probs).sum(-1), likeliest.indices


@torch.inference_mode()
def states_at(model, traces: list[Trace]) -> list[Tensor]:
    """Hidden states (boundaries, H) of each trace, of the last layer after its norm, behind which a step has ended."""
    was_training = model.training
    model.eval()
    found: list = [None] * len(traces)
    sequences = [[*trace.prompt_ids, *trace.thinking_ids] for trace in traces]
    order = sorted(range(len(traces)), key=lambda i: len(sequences[i]))
    while order:
        width = len(sequences[order[-1]])
        size = max(1, min(64, MOST_TOKENS // width))
        order, batch = order[:-size], order[-size:]
        ids = torch.tensor([sequences[i] + [0] * (width - len(sequences[i])) for i in batch], device=model.device)
        states = backbone_of(model)(input_ids=ids, use_cache=False).last_hidden_state  # what is behind is not seen
        for i, own in zip(batch, states, strict=True):
            at = [len(traces[i].prompt_ids) - 1 + position for position in traces[i].boundaries]
            found[i] = own[at].float().cpu()
    model.train(was_training)
    return found


@torch.inference_mode()
def closing_states(model, trace: Trace, positions: list[int], close_ids: list[int]) -> Tensor:
    """Hidden states (positions, H) of the last closing token, were thinking closed at each position."""
    found = []
    for position in positions:
        ids = torch.tensor([[*trace.prompt_ids, *trace.thinking_ids[:position], *close_ids]], device=model.device)
        found.append(backbone_of(model)(input_ids=ids, use_cache=False).last_hidden_state[0, -1].float().cpu())
    return torch.stack(found)


class StateReader:
    """Holds the last hidden states of a model's newest forward; a context manager.

    Where `ahead(input_ids)` says so, `token_id` is run behind the tokens of a forward as if it were written next in
    every row, and `closing` and `closing_logits` hold its states and what would follow. It rides along: where weights
    are what a forward waits for, two tokens take hardly longer than one. Outputs and the cache of generation are what
    they would be without it. Raises UserError for a model without a cache that can be wound back.
    """

    def __init__(self, model, token_id: int = 0, ahead: Callable[[Tensor], bool] | None = None):
        self.model, self.token_id, self.ahead = model, token_id, ahead
        self.states: Tensor | None = None  # (B, L, H)
        self.closing: Tensor | None = None  # (B, H), None where the newest forward was not looked beyond
        self.closing_logits: Tensor | None = None  # (B, V)

    def __enter__(self) -> "StateReader":
        backbone = backbone_of(self.model)
        self.handles = [backbone.register_forward_hook(self._read, with_kwargs=True)]
        if self.ahead is not None:
            head = self.model.get_output_embeddings()
            self.handles += [
                backbone.register_forward_pre_hook(self._append, with_kwargs=True),
                head.register_forward_pre_hook(self._append_state), head.register_forward_hook(self._read_logits),
            ]  # fmt: skip
        return self

    def __exit__(self, *error) -> None:
        for handle in self.handles:
            handle.remove()
        self.states = self.closing = self.closing_logits = None

    def _append(self, module, arguments, keywords):
        self.looks = self.ahead(keywords["input_ids"])
        if not self.looks:
            return None
        ids, mask, position = (keywords.get(name) for name in ("input_ids", "attention_mask", "position_ids"))
        cache = keywords.get("past_key_values")
        if cache is None or not attends_alone(self.model) or getattr(mask, "ndim", 2) != 2:
            raise UserError("this model's cache cannot be wound back: fit its value head with --no_peek")
        longer = {"input_ids": torch.cat([ids, torch.full_like(ids[:, :1], self.token_id)], 1)}
        if mask is not None:
            longer["attention_mask"] = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        if position is not None:
            longer["position_ids"] = torch.cat([position, position[:, -1:] + 1], 1)
        return arguments, {**keywords, **longer}

    def _read(self, module, arguments, keywords, output):
        self.states, self.closing = output.last_hidden_state, None
        if self.ahead is not None and self.looks:
            self.states, self.closing = self.states[:, :-1], self.states[:, -1]
            output.last_hidden_state = self.states
            keywords["past_key_values"].crop(-1)
        return output

    def _append_state(self, module, arguments):
        return (torch.cat([arguments[0], self.closing[:, None]], 1),) if self.looks else None

    def _read_logits(self, module, arguments, output):
        self.closing_logits = output[:, -1] if self.looks else None
        return output[:, :-1] if self.looks else output


def attends_alone(model) -> bool:
    """Whether the model is one of full attention and nothing else, whose past may be masked and wound back."""
    config = backbone_of(model).config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is None:  # a window, where there is one, is that of every layer
        full = getattr(config, "sliding_window", None) is None
    else:
        full = all(kind == "full_attention" for kind in kinds)
    return config.model_type in PACKED and full


def backbone_of(model):
    """The transformer under the language-model head; its output is the state that the head sees."""
    return model.get_base_model().base_model if hasattr(model, "get_base_model") else model.base_model
