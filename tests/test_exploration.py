from types import SimpleNamespace

from timecost.exploration import FadeExploration


def test_kl_and_entropy_bonus_fade_to_zero_and_stay_there():
    trainer = SimpleNamespace(beta=0.02, entropy_coef=0.1)
    callback = FadeExploration(trainer, fraction=0.5)
    seen = []
    for step in (0, 25, 50, 100):
        callback.on_step_begin(None, SimpleNamespace(global_step=step, max_steps=100), None)
        seen.append((trainer.beta, trainer.entropy_coef))
    assert seen == [(0.02, 0.1), (0.01, 0.05), (0.0, 0.0), (0.0, 0.0)]
