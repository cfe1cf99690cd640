"""Probes: at the step boundaries of a trace, close the thinking, let the model answer, verify.

What comes back are anytime values: how often an answer is right when thinking is closed there. They are the targets of
the value head. `score_answers` takes the probability of the one right answer, exact and in a single forward for all
boundaries of a trace where the model is attention alone; `sample_answers` samples answers and asks a verifier, for any
task. A boundary without a probe has the value NaN.
"""

import random
from collections.abc import Callable

import torch
from torch import Tensor

from timecost.value.states import StateReader, attends_alone, backbone_of, batches, looking_on, states_at
from timecost.value.traces import POINT_FIELDS, TRACE_FIELDS, ProbedTraces, Trace, agreement

MOST_LOGITS = 2**13  # tokens of a batch of which each has its logits


def choose_boundaries(traces: list[Trace], max_probes: int | None, seed: int) -> list[set[int]]:
    """The positions of each trace to probe: all its boundaries, or `max_probes` of them drawn at random."""
    rng = random.Random(seed)
    chosen = []
    for trace in traces:
        few = max_probes is not None and max_probes < len(trace.boundaries)
        chosen.append({*(rng.sample(trace.boundaries, max_probes) if few else trace.boundaries)})
    return chosen


def with_ends(traces: list[Trace], chosen: list[set[int]]) -> list[list[int]]:
    """The positions that were chosen and the end of each trace, in rising order."""
    return [sorted({*at, len(trace.thinking_ids)}) for trace, at in zip(traces, chosen, strict=True)]


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
    score = _score_packed if (sees_masks(model) if packed is None else packed) else _score_plain
    probes = choose_boundaries(traces, max_probes, seed)
    rows = list(zip(traces, answers, with_ends(traces, probes), strict=True))
    order = sorted(range(len(traces)), key=lambda i: len(traces[i].prompt_ids) + len(traces[i].thinking_ids))
    found: list = [None] * len(traces)
    with looking_on(model):
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            for i, scored in zip(batch, score(model, [rows[i] for i in batch], close_ids, eos_id), strict=True):
                found[i] = scored
    return _assemble(traces, probes, found)


def sees_masks(model) -> bool:
    """Whether the model attends where a mask for each pair of tokens says; flash attention takes none."""
    return attends_alone(model) and backbone_of(model).config._attn_implementation in ("eager", "sdpa")


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
    for (trace, answer, positions), hidden in zip(rows, states_at(model, [row[0] for row in rows]), strict=True):
        branch, told = _branch(answer, close_ids), 1 + len(answer or [])  # states that tell the answer and its end
        sequences = [[*trace.prompt_ids, *trace.thinking_ids[:position], *branch] for position in positions]
        found: list = [None] * len(sequences)
        for batch, ids in batches(sequences, model.device, MOST_LOGITS):
            with StateReader(model) as reader:
                logits, states = model(input_ids=ids, use_cache=False).logits, reader.states
            for i, own, state in zip(batch, logits, states, strict=True):
                end = len(sequences[i])
                read = _read_logits(own[None, end - told : end].float(), answer, eos_id)
                found[i] = (*(tensor[0] for tensor in read), state[end - told].float().cpu())
        scored.append((positions, *map(torch.stack, zip(*found, strict=True)), hidden))
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
        at = torch.tensor([index[b] if b in chosen else -1 for b in trace.boundaries])
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
    rows = [(trace, None, at) for trace, at in zip(traces, with_ends(traces, probes), strict=True)]
    prefixes, opened, problems = [], [], []
    for trace, _, positions in rows:
        for position in positions:
            thinking = [*trace.thinking_ids[:position], *close_ids]
            prefixes += [[*trace.prompt_ids, *thinking]] * num_samples
            opened += [thinking] * num_samples
            problems += [trace.problem] * num_samples
    written = sample(prefixes)
    texts = tokenizer.batch_decode([[*a, *b] for a, b in zip(opened, written, strict=True)], skip_special_tokens=True)
    scores = [torch.nan if score is None else float(score) for score in verify(texts, problems)]
    values = torch.tensor(scores).view(-1, num_samples).nanmean(1).split([len(positions) for _, _, positions in rows])
    with looking_on(model):
        found = _score_plain(model, rows, close_ids, eos_id=None)
    found = [(at, value, *told) for value, (at, _, *told) in zip(values, found, strict=True)]
    return _assemble(traces, probes, found)


def sureness(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Confidence, entropy in nats, and id of the likeliest token, each (B,), of logits (B, V)."""
    log_probs = logits.float().log_softmax(-1)
    likeliest = log_probs.max(-1)
    return likeliest.values.exp(), -(log_probs.exp() * log_probs).sum(-1), likeliest.indices
