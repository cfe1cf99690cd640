"""Which tokens a B'MOJO has kept: its eidetic sets as positions, for measurements and pictures."""

import torch
from transformers import DynamicCache


@torch.no_grad()
def kept_positions(model, input_ids: torch.Tensor) -> torch.Tensor:
    """(layers, batch, chunks, M): positions that the eidetic set of each chunk of W queries holds, -1 where empty.

    `input_ids` (batch, tokens) without padding; the first chunk's set is empty.
    """
    cache, found = DynamicCache(config=model.config), []
    size, layers = model.config.eidetic_size, model.config.num_hidden_layers
    empty = torch.full((layers, input_ids.shape[0], size), -1, device=input_ids.device)
    for chunk in input_ids.split(model.config.sliding_window, dim=1):
        sets = [layer.tensors for layer in cache.layers if layer.is_initialized]
        kept = [t["eidetic_position"].masked_fill(t["eidetic_score"].isinf(), -1) for t in sets]
        found.append(torch.stack(kept) if kept else empty)
        model.base_model(chunk, past_key_values=cache, use_cache=True)
    return torch.stack(found, 2)


def stays(kept: torch.Tensor) -> list[list[tuple[int, int]]]:
    """For each layer the tokens that its set ever held, as (position, first chunk without it again), by position.

    `kept` (layers, chunks, M) is of one sequence. A set takes a token with the chunk after its own and never takes it
    back, so that this is all there is to know; a token that stays has the number of chunks.
    """
    out = []
    for layer in kept.tolist():
        last = {position: chunk for chunk, held in enumerate(layer) for position in held if position >= 0}
        out.append([(position, last[position] + 1) for position in sorted(last)])
    return out
