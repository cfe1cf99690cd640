"""A price per token that is lower where a prompt is rarely solved."""

import torch
from torch import Tensor


def alp(correct: Tensor, cost: Tensor, *, beta: float = 1e-4) -> Tensor:
    """c − beta · max(p, 1/K) · L with p the solve rate over the K completions of the prompt (ALP, arXiv 2506.05256).

    The paper writes beta/N with a constant N; here beta is the product, the price of a token on a prompt that is always
    solved (default 1e-4). The penalty falls on wrong answers too, so that at a high price a prompt that is seldom
    solved is answered short and wrong.
    """
    valid = ~torch.isnan(correct)
    floor = 1 / valid.sum(1, keepdim=True).clamp(min=1)
    return correct - beta * torch.maximum(torch.nanmean(correct, 1, keepdim=True), floor) * cost
