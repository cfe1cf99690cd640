"""Padded, packed and continued batches as rows that begin at their own first token."""

import torch

from timecost.models.bmojo.layout import make_layout

CPU = torch.device("cpu")


def test_rows_without_padding_stay_as_they_are():
    layout = make_layout(4, 2, 9, CPU)
    assert (layout.kind, layout.num_chunks, layout.source, layout.valid) == ("blocked", 3, None, None)
    assert layout.position.tolist() == [list(range(9))] * 2
    assert make_layout(4, 2, 4, CPU).kind == "plain"
    assert make_layout(4, 2, 4, CPU, mask=torch.ones(2, 4)).source is None


def test_padding_moves_behind_the_tokens_and_back():
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 0], [1, 0, 1, 0, 1]])
    layout = make_layout(4, 3, 5, CPU, mask=mask)
    x = torch.arange(1.0, 16.0).view(3, 5, 1)
    rows = layout.to_rows(x)
    assert (rows[..., 0] * layout.valid).tolist() == [[3, 4, 5, 0], [6, 7, 8, 9], [11, 13, 15, 0]]
    assert layout.counts == [3, 4, 3]
    assert torch.equal(layout.to_given(rows), x * mask[..., None])


def test_a_packed_sequence_begins_with_a_chunk():
    start = torch.zeros(1, 8, dtype=torch.bool)
    start[0, [0, 5, 6]] = True  # lengths 5, 1, 2
    layout = make_layout(4, 1, 8, CPU, start=start)
    assert layout.chunk_index[0, :-1].tolist() == [0, 1, 0, 0]
    assert layout.valid[0].view(4, 4).sum(1).tolist() == [4, 1, 1, 2]
    assert layout.position[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 0, 1, 2, 3]
    assert layout.start[0].nonzero().flatten().tolist() == [0, 8, 12]
    x = torch.arange(8.0).view(1, 8, 1)
    assert torch.equal(layout.to_given(layout.to_rows(x)), x)


def test_a_continued_row_goes_on_in_its_chunk():
    layout = make_layout(4, 2, 3, CPU, past=[6, 3])
    assert (layout.kind, layout.offsets, layout.num_chunks) == ("blocked", [2, 3], 2)
    assert layout.chunk_index.tolist() == [[1, 2, 3], [0, 1, 2]]
    assert layout.position.tolist() == [[6, 7, 8], [3, 4, 5]]
    assert make_layout(4, 2, 1, CPU, past=[6, 3]).kind == "step"
