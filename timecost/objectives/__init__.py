"""Objectives: from (correct, cost) of the completions of each prompt to what the trainer maximises.

Every objective is called as `objective(correct, cost, **context) -> Tensor` with

    correct  (num_prompts, num_generations), in [0, 1]; NaN where the verifier failed
    cost     (num_prompts, num_generations), > 0, in the cost model's unit

and returns a tensor of the same shape that takes the reward's place: NaN where `correct` is, and meant to be centred
per prompt (GRPO's baseline) but not divided by the group's standard deviation, under which a price loses its unit.
Where a paper writes the length L in tokens, L is the cost. Most are pure functions; those that remember (LaserD, Hapo,
Acoer, Dual) are small classes with `state_dict` and `load_state_dict`, to be called with the completions of all
processes. Nothing here knows a trainer, so another engine can call it: `Objective("levin", time_elasticity=0.05)`.
"""

from timecost.objectives.hapo import problem_id
from timecost.objectives.registry import (
    CONTEXT,
    PRICES,
    REGISTRY,
    SIZES,
    STRENGTH,
    Objective,
    accuracy,
    levin,
    linear,
)

__all__ = [
    "CONTEXT",
    "PRICES",
    "REGISTRY",
    "SIZES",
    "STRENGTH",
    "Objective",
    "accuracy",
    "levin",
    "linear",
    "problem_id",
]
