import torch

from timecost.batching import sort_by_length, trim_padding


def make_batch(prompt_lengths, completion_lengths, num_prompt=4, num_completion=6):
    """Rows whose tokens spell their own lengths, padded as TRL pads: prompts left, completions right."""
    prompt_mask = torch.tensor([[0] * (num_prompt - n) + [1] * n for n in prompt_lengths])
    completion_mask = torch.tensor([[1] * n + [0] * (num_completion - n) for n in completion_lengths])
    return {
        "prompt_ids": prompt_mask * torch.tensor(prompt_lengths)[:, None],
        "prompt_mask": prompt_mask,
        "completion_ids": completion_mask * torch.tensor(completion_lengths)[:, None],
        "completion_mask": completion_mask,
        "advantages": torch.tensor(completion_lengths, dtype=torch.float32),
        "num_items_in_batch": torch.tensor(7),
    }


def test_trim_cuts_prompts_on_the_left_and_completions_on_the_right():
    batch = trim_padding(make_batch([1, 2], [3, 1]))
    assert batch["prompt_ids"].tolist() == [[0, 1], [2, 2]]
    assert batch["completion_ids"].tolist() == [[3, 3, 3], [1, 0, 0]]
    assert batch["advantages"].tolist() == [3, 1]


def test_trim_leaves_a_column_where_all_is_masked():
    assert trim_padding(make_batch([1, 2], [0, 0]))["completion_ids"].shape == (2, 1)


def test_sorting_keeps_every_row_whole_and_puts_like_lengths_together():
    first, second = sort_by_length([make_batch([1, 2], [6, 1]), make_batch([3, 4], [2, 5])])
    assert first["advantages"].tolist() == [1, 2]
    assert second["advantages"].tolist() == [5, 6]
    assert first["completion_ids"].shape == (2, 2) and second["completion_ids"].shape == (2, 6)
    assert first["prompt_ids"].max(1).values.tolist() == [2, 3] and second["prompt_ids"].max(1).values.tolist() == [
        4,
        1,
    ]
    assert first["num_items_in_batch"].item() == 7
