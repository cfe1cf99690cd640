"""Keeping styles of thinking alive until the model has learned where each of them pays.

Reinforcement learning first sees a style's average over all prompts; a cheap style that is right on easy prompts
only would be gone before the model can tell easy from hard. A KL term to the start model (TRL's `beta`) or an entropy
bonus (`entropy_coef`) holds it; faded out, neither taxes the final policy.
"""

from transformers import TrainerCallback


class FadeExploration(TrainerCallback):
    """Fades the trainer's `beta` and `entropy_coef` linearly to 0 over a fraction of the training steps."""

    def __init__(self, trainer, fraction: float):
        self.trainer = trainer
        self.fraction = fraction
        self.start = {"beta": trainer.beta, "entropy_coef": trainer.entropy_coef}

    def on_step_begin(self, args, state, control, **kwargs):
        remaining = max(0.0, 1 - state.global_step / (self.fraction * state.max_steps))
        for name, value in self.start.items():
            setattr(self.trainer, name, value * remaining)
