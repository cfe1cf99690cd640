import pytest

from timecost.config import TimeCostConfig, bind_objective
from timecost.errors import UserError


def make(tmp_path, **kwargs):
    return TimeCostConfig(output_dir=str(tmp_path), bf16=False, report_to="none", **kwargs)


def test_the_price_keeps_its_unit_by_default(tmp_path):
    config = make(tmp_path)
    assert (config.scale_rewards, config.loss_type, config.objective) == ("none", "dr_grpo", "levin")


BASELINE = {"value_head": True, "value_baseline": True}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"objective": "lavin"}, "unknown objective 'lavin'"),
        ({"loss_type": "grpo"}, "length bias"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "sum_then_normalize"),
        ({"prompt_cost": 0.0}, "positive"),
        ({"exploration_fraction": 1.5}, "exploration_fraction"),
        ({"exploration_fraction": 0.5, "use_adaptive_entropy": True}, "leave one out"),
        ({"time_elasticity": -0.1}, "levin: time_elasticity=-0.1 must be at least 0"),
        ({"budgets": [8, 16], "budget_prior": [1.0]}, "a weight of at least 0 for each"),
        ({"budget_curriculum_fraction": 0.5}, "needs budgets"),
        ({"budgets": [8, 16], "budget_prior": [1.0, 0.0], "budget_curriculum_fraction": 0.5}, "rules out"),
        ({"bounded_time_elasticity": 0.1}, "needs objective levin and budgets"),
        ({"bounded_time_elasticity": -1.0, "budgets": [8]}, "must be at least 0"),
        ({"value_baseline": True}, "set value_head"),
        ({**BASELINE, "importance_sampling_level": "sequence"}, "needs importance_sampling_level: token"),
        ({"value_head": True, "mask_truncated_completions": True}, "a thought that was cut looks empty"),
        ({**BASELINE, "loss_type": "vespo"}, "not with vespo"),
    ],
)
def test_settings_under_which_a_price_means_nothing_are_refused(tmp_path, wrong, message):
    with pytest.raises(UserError, match=message):
        make(tmp_path, **wrong)


def test_a_budget_that_nothing_overruns_warns(tmp_path):
    with pytest.warns(UserWarning, match="no thought can overrun a budget of 256"):
        make(tmp_path, budgets=[8, 256], max_completion_length=256)


def test_rescaling_by_the_group_warns(tmp_path):
    with pytest.warns(UserWarning, match="no unit"):
        make(tmp_path, scale_rewards="group")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"objective": "lcpo_max"}, "needs a budget: set budgets, or objective_kwargs"),
        ({"objective": "linear", "objective_kwargs": {"cost": 1}}, "no argument 'cost': it has price"),
        ({"objective_kwargs": {"weighting": "x"}}, "weighting='x' is not one of"),
        ({"objective": "dual", "objective_kwargs": {"budget": "many"}}, "budget='many' is not a quantity"),
        ({"objective": "linear", "objective_kwargs": {"price": "0.1/second"}}, "is in seconds, but .* counts tokens"),
        ({"objective": "linear", "cost_model": "flops"}, "counts flops here: set price"),
        ({"objective": "linear", "cost_model": "flops", "objective_kwargs": {"price": 1e-9}}, "is in tokens, but"),
        ({"objective": "lcpo_max", "cost_model": "flops", "objective_kwargs": {"budget": 9}}, "budget of tokens"),
        ({"cost_model": "seconds"}, "fit-cost"),
        ({"cost_model": "flop"}, "did you mean 'flops'"),
        ({"price_schedule": "dual"}, "needs one target"),
        ({"price_schedule": "dual", "max_mean_cost": "2 seconds"}, "is in seconds, but"),
        ({"price_schedule": "rising"}, "must be one of constant, warmup, dual"),
        ({"max_accuracy_loss": 0.01}, "target of price_schedule 'dual'"),
        ({"price_schedule": "dual", "max_accuracy_loss": 1.0}, "a point of accuracy is 0.01"),
        ({"price_schedule": "warmup"}, "go together"),
        ({"price_schedule": "dual", "max_mean_cost": "20", "objective": "hapo"}, "no price to move in objective hapo"),
        ({"objective": "effort", "efforts": {"low": 0.5, "high": 0}}, "above 0"),
        ({"objective": "kimi", "efforts": {"low": 0.5}}, "not for kimi"),
        ({"restore_callback_states_from_checkpoint": True}, "--resume restores"),
    ],
)
def test_objectives_prices_and_units_that_do_not_fit(tmp_path, wrong, message):
    with pytest.raises(UserError, match=message):
        make(tmp_path, **wrong)


def test_quantities_with_their_unit(tmp_path):
    config = make(
        tmp_path, objective="dual", cost_model="flops", objective_kwargs={"budget": "3e9 flops"},
    )  # fmt: skip
    assert bind_objective(config).function.budget == 3e9
    config = make(tmp_path, objective="linear", objective_kwargs={"price": "0.5 per token"})
    assert bind_objective(config).kwargs == {"price": 0.5}
    config = make(tmp_path, objective="truncation", objective_kwargs={"limits": [30, "20 tokens"]})
    assert bind_objective(config).kwargs == {"limits": [30.0, 20.0]}


def test_an_elasticity_in_objective_kwargs_is_the_one_that_everything_uses(tmp_path):
    kwargs = {"time_elasticity": 0.5, "time": "mean"}
    config = make(tmp_path, objective_kwargs=kwargs, budgets=[8], bounded_time_elasticity=0.1)
    assert config.time_elasticity == config.price_control().elasticity == 0.5
    assert bind_objective(config).kwargs == {"time": "mean", "time_elasticity": 0.5}
    assert kwargs == {"time_elasticity": 0.5, "time": "mean"}, "the caller's stays as it was"
