"""A price per token, on correct answers or on all: the objectives most users try first."""

from torch import Tensor


def linear(correct: Tensor, cost: Tensor, *, price: float = 1e-3) -> Tensor:
    """c − price · c · T: what a correct answer is worth, 1, less what its time cost.

    `price` is in units of one correct answer per unit of cost. Wrong answers cost nothing, so a wrong answer is never
    preferred to another for being short; the price is the same on every prompt, however long it has to think.

    >>> linear(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[10.0, 30.0, 5.0]]), price=0.01)
    tensor([[0.9000, 0.7000, 0.0000]])
    """
    return correct * (1 - price * cost)


def net(correct: Tensor, cost: Tensor, *, price: float = 1e-3) -> Tensor:
    """c − price · T: the net utility of a completion, right or wrong; `price` as in `linear`.

    What a user pays for is what was used, so wrong answers cost too. Where p times the worth of an answer is below the
    price of trying, the best policy is to answer at once and wrong: it declines.

    >>> net(torch.tensor([[1.0, 0.0]]), torch.tensor([[10.0, 5.0]]), price=0.01)
    tensor([[ 0.9000, -0.0500]])
    """
    return correct - price * cost
