"""Micro-batches of like lengths: the same gradient with less padding.

Completions of one prompt differ in length by a factor of ten and more once a model chooses how long to think, and a
micro-batch is as wide as its longest member. All micro-batches of an optimizer step add to one gradient, so which
sequence goes to which micro-batch is free.
"""

import torch


def sort_by_length(batches: list[dict[str, torch.Tensor]]) -> list[dict[str, torch.Tensor]]:
    """Deals the rows of one optimizer step's micro-batches anew, shortest completions first, and trims padding.

    Each batch holds TRL's tensors: `prompt_*` (B, P) padded on the left, others (B, T) or (B, 1) padded on the right,
    (B,), or scalars, which stay. The rows of a step and the sizes of the batches do not change.
    """
    rows = {key: torch.cat([batch[key] for batch in batches]) for key, value in batches[0].items() if value.dim()}
    scalars = {key: value for key, value in batches[0].items() if not value.dim()}
    order = rows["completion_mask"].sum(1).argsort(stable=True)
    return [
        trim_padding({key: value[index] for key, value in rows.items()}) | scalars
        for index in order.split([len(batch["completion_mask"]) for batch in batches])
    ]


def trim_padding(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Cuts the columns that are padding in every row: `prompt_*` from the left, all else from the right."""
    longest_prompt = int(batch["prompt_mask"].sum(1).max())
    longest_completion = max(1, int(batch["completion_mask"].sum(1).max()))  # 0 where all are masked as truncated
    return {
        key: value if value.dim() < 2
        else value[:, -longest_prompt:] if key.startswith("prompt_")
        else value[:, :longest_completion]
        for key, value in batch.items()
    }  # fmt: skip
