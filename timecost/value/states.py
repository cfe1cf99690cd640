"""Hidden states: what a head sees of a model, read behind a finished thought or while it is generated."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from timecost.errors import UserError
from timecost.value.traces import Trace

MOST_TOKENS = 2**16  # of a batch whose states are read
ALONE = ("gemma", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3", "smollm3")  # attention, and nothing else


def backbone_of(model):
    """The transformer under the language-model head; its output is the state that the head sees."""
    return model.get_base_model().base_model if hasattr(model, "get_base_model") else model.base_model


def attends_alone(model) -> bool:
    """Whether the model is one of full attention and nothing else, whose past may be masked and wound back."""
    config = backbone_of(model).config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is None:  # a window, where there is one, is that of every layer
        full = getattr(config, "sliding_window", None) is None
    else:
        full = all(kind == "full_attention" for kind in kinds)
    return config.model_type in ALONE and full


@contextmanager
def looking_on(model):
    """A model without dropout and gradients, which afterwards is in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def batches(sequences: list[list[int]], device, most_tokens: int = MOST_TOKENS) -> Iterator[tuple[list[int], Tensor]]:
    """Indices of sequences of token ids, neighbours in length and the longest first, and their ids (B, L).

    They are filled up behind, where no model looks that writes one token after the other; whatever it makes of masks
    and positions, each sequence has the states that it has alone.
    """
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    while order:
        width = len(sequences[order[-1]])
        size = max(1, min(64, most_tokens // width))
        order, batch = order[:-size], order[-size:]
        yield batch, torch.tensor([sequences[i] + [0] * (width - len(sequences[i])) for i in batch], device=device)


def states_at(model, traces: list[Trace]) -> list[Tensor]:
    """Hidden states (boundaries, H) of each trace, of the last layer after its norm, behind which a step has ended."""
    found: list = [None] * len(traces)
    with looking_on(model):
        for batch, ids in batches([[*trace.prompt_ids, *trace.thinking_ids] for trace in traces], model.device):
            states = backbone_of(model)(input_ids=ids, use_cache=False).last_hidden_state
            for i, own in zip(batch, states, strict=True):
                at = [len(traces[i].prompt_ids) - 1 + position for position in traces[i].boundaries]
                found[i] = own[at].float().cpu()
    return found


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
