"""Objectives: from (correct, cost) of the completions of each prompt to what the trainer maximises.

Every objective is a pure function on tensors, `objective(correct, cost, **kwargs) -> Tensor` with

    correct  (num_prompts, num_generations), in [0, 1]; NaN where the verifier failed
    cost     (num_prompts, num_generations), > 0, in the cost model's unit

and returns a tensor of the same shape that takes the reward's place: NaN where `correct` is, and meant to be centred
per prompt (GRPO's baseline) but not divided by the group's standard deviation, under which a price loses its unit.
Nothing here knows a trainer, so another engine can call it.
"""

from timecost.objectives.accuracy import accuracy
from timecost.objectives.levin import levin
from timecost.objectives.linear import linear

REGISTRY = {"accuracy": accuracy, "linear": linear, "levin": levin}

__all__ = ["REGISTRY", "accuracy", "levin", "linear"]
