import torch

from timecost.forcing import force


def test_one_token_stays_open_in_the_rows_alone_even_where_it_was_ruled_out():
    scores = torch.tensor([[1.0, -torch.inf, 2.0], [1.0, -torch.inf, 2.0]])
    forced = force(scores, torch.tensor([True, False]), 1)
    assert forced.tolist() == [[-torch.inf, 0.0, -torch.inf], [1.0, -torch.inf, 2.0]]
