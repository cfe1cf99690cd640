"""What the prompts of a training batch ask for: a budget or an effort for each group, and its elasticity."""

from timecost.budget import draw_budget, open_rungs
from timecost.effort import draw_effort


def draw_requests(
    inputs: list[dict], args, step: int, max_steps: int, *, micro_step: int, first: int, num_generations: int
) -> list[dict]:
    """Copies of the rows of one process, whose prompts ask; `first` is the index of its first row over all processes.

    Each group of `num_generations` rows asks for the same, a function of the seed in `args` (`TimeCostConfig`), the
    step and the micro-step, on whatever process. Rows get `budget`, `effort` and `elasticity` where they are trained,
    and keep the prompt as it was in `unasked`.
    """
    rungs, prior = args.budgets, args.budget_prior
    if args.budget_curriculum_fraction is not None:
        rungs = open_rungs(rungs, step / (args.budget_curriculum_fraction * max_steps))
        prior = prior and prior[-len(rungs) :]
    inputs = [dict(row) for row in inputs]
    for i, row in enumerate(inputs, start=first):
        key = (args.seed, step, micro_step, i // num_generations)
        row["unasked"] = row["prompt"]
        if args.efforts:
            row["prompt"], row["effort"] = draw_effort(row["prompt"], args.efforts, *key)
        if args.budgets:
            row["prompt"], row["budget"] = draw_budget(row["prompt"], rungs, args.budget_inf_share, *key, prior=prior)
        if args.bounded_time_elasticity is not None:
            bounded = row["budget"] is not None
            row["elasticity"] = args.bounded_time_elasticity if bounded else args.time_elasticity
    return inputs
