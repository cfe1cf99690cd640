"""Correctness alone: the baseline that every saving is measured against."""

from torch import Tensor


def accuracy(correct: Tensor, cost: Tensor) -> Tensor:
    """The reward c of plain GRPO; `cost` is not looked at.

    >>> accuracy(torch.tensor([[1.0, 0.0]]), torch.tensor([[9.0, 3.0]]))
    tensor([[1., 0.]])
    """
    return correct
