"""The innovation test, and the sets it fills: the same however a sequence is cut."""

import pytest
import torch

from timecost.models.bmojo.innovation import NEVER, Innovation, merge, select_chunks, selection_scores


def test_the_predictor_starts_as_the_last_value():
    s = torch.tensor([[[1.0, 1.0], [2.0, 2.0], [2.0, -2.0]]])
    errors, r = _fresh(2)(s)
    torch.testing.assert_close(r, torch.tensor([[[1.0, 1.0], [1.0, 1.0], [1.0, -1.0]]]))
    torch.testing.assert_close(errors, torch.tensor([[1.0, 0.0, 2.0]]))


def _fresh(size: int) -> Innovation:
    module = Innovation(size, kernel=4, eps=0.0)
    with torch.no_grad():
        module.weight[0] = 1.0
    return module


def test_it_is_strictly_causal_and_trains_the_predictor_alone():
    torch.manual_seed(0)
    module, s = _fresh(8), torch.randn(2, 9, 8, requires_grad=True)
    before = module(s)[0]
    changed = s.detach().clone()
    changed[:, 5] += 1
    assert torch.equal(module(changed)[0][:, :5], before[:, :5])
    before.mean().backward()
    assert s.grad is None
    assert module.weight.grad.abs().sum() > 0


def test_a_foreseen_input_is_no_innovation():
    """The memory says which of two tokens comes; a predictor that learned it is surprised by the other one alone."""
    module = Innovation(2, kernel=1, eps=0.0, rank=1)
    with torch.no_grad():  # r = (1, 1) foretells x = (1, 1), and r = (1, -1) its opposite
        module.weight.fill_(1.0)
        module.down.copy_(torch.tensor([[0.0, 1.0]]))
        module.up.fill_(1.0)
    s = torch.tensor([[[1.0, 1.0], [1.0, -1.0], [3.0, 3.0], [1.0, 1.0]]])
    x = torch.tensor([[[1.0, 1.0], [2.0, 2.0], [-1.0, -1.0], [-1.0, -1.0]]])
    errors, _ = module(s, x)
    torch.testing.assert_close(errors, torch.tensor([[1.0, 0.0, 0.0, 4.0]]))
    changed = x.clone()
    changed[:, 2] += 1
    assert torch.equal(module(s, changed)[0] == errors, torch.tensor([[True, True, False, True]]))
    errors.mean().backward()
    assert all(parameter.grad.any() for parameter in (module.down, module.up, module.bias))


def test_merge_keeps_the_best_in_order_and_the_earlier_of_equals():
    kept = torch.tensor([[5.0, 1.0, NEVER]]), torch.tensor([[2, 4, 0]])
    scores, index = merge(*kept, torch.tensor([[1.0, 7.0, NEVER]]), torch.tensor([6, 7, 8]))
    assert index.tolist() == [[2, 4, 7]]
    assert scores.tolist() == [[5, 1, 7]]


@pytest.mark.parametrize("size", [1, 3, 20])
def test_sets_are_the_best_of_all_tokens_before_the_chunk(size):
    window, n = 4, 6
    generator = torch.Generator().manual_seed(1)
    scores = torch.randint(0, 9, (2, n * window), generator=generator).double()  # with ties
    frame = torch.cat([torch.full((2, window), NEVER), scores], 1)
    empty = torch.full((2, size), NEVER, dtype=torch.float64)
    best, index = select_chunks(empty, frame, torch.arange(n).expand(2, -1), window)
    for row in range(2):
        for chunk in range(n):
            expected = sorted(sorted(range(chunk * window), key=lambda j: (-scores[row, j].item(), j))[:size])
            found = index[row, chunk][best[row, chunk] != NEVER] - size - window
            assert found.tolist() == expected


def test_a_packed_sequence_chooses_from_itself_alone():
    window = 2
    frame = torch.tensor([[NEVER, NEVER, 9, 9, 1, 1, 8, 8, 2, 2, 3, 3]], dtype=torch.float64)
    chunks = torch.tensor([[0, 1, 0, 1, 2]])  # the second sequence begins at its third chunk
    best, _ = select_chunks(torch.full((1, 2), NEVER, dtype=torch.float64), frame, chunks, window)
    assert best[0, 3].tolist() == best[0, 4].tolist() == [8, 8]
    assert best[0, 1].tolist() == [9, 9] and best[0, 2].eq(NEVER).all()


@pytest.mark.parametrize(
    ("policy", "expected"), [("innovation", [1, 3]), ("recency", [4, 5]), ("threshold", [0, 1]), ("random", None)]
)
def test_policies(policy, expected):
    errors, position = torch.tensor([[1.2, 5.0, 0.1, 4.0, 0.2, 2.0]]), torch.arange(6)[None]
    scores = selection_scores(errors, position, policy, threshold=1.0)
    chosen = scores.topk(2).indices.sort().values[0].tolist()
    if expected is not None:
        assert chosen == expected
    else:
        assert torch.equal(scores, selection_scores(errors * 2, position, policy))
        assert len(set(selection_scores(torch.zeros(1, 999), torch.arange(999)[None], policy)[0].tolist())) > 990
