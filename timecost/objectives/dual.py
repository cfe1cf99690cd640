"""LACONIC: the price of length is a dual variable that holds the mean length at a budget."""

from torch import Tensor


class Dual:
    """c − λ · max(0, L − B)/B; after each step λ ← clip(λ + rate · (L̄ − B)/B, 0, ceiling) (LACONIC, arXiv 2602.14468).

    B is the budget in units of cost, which the user states; L̄ is the mean over the batch, of all processes. Completions
    within the budget are all worth the same, whatever their length. Defaults: B = 2000, rate 0.02, λ from 0 to at most
    1. The paper divides by the group's standard deviation, under which λ loses its unit. A batch over the budget raises
    λ for wrong and right answers alike; where no policy meets B, it stays at the ceiling and accuracy gives way.

    State: λ. To state a loss of accuracy instead, see `timecost.price_control`.
    """

    def __init__(self, *, budget: float = 2000, rate: float = 0.02, ceiling: float = 1.0, start: float = 0.0):
        self.budget, self.rate, self.ceiling = budget, rate, ceiling
        self.price = start

    def __call__(self, correct: Tensor, cost: Tensor, *, update: bool = True) -> Tensor:
        reward = correct - self.price * ((cost - self.budget) / self.budget).clamp(min=0.0)
        valid = ~correct.isnan()
        if update and valid.any():
            excess = float(cost[valid].mean()) / self.budget - 1
            self.price = min(self.ceiling, max(0.0, self.price + self.rate * excess))
        return reward

    def state_dict(self) -> dict:
        return {"price": self.price}

    def load_state_dict(self, state: dict) -> None:
        self.price = state["price"]
