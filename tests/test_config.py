import pytest

from timecost.config import TimeCostConfig
from timecost.errors import UserError


def make(tmp_path, **kwargs):
    return TimeCostConfig(output_dir=str(tmp_path), bf16=False, report_to="none", **kwargs)


def test_the_price_keeps_its_unit_by_default(tmp_path):
    config = make(tmp_path)
    assert (config.scale_rewards, config.loss_type, config.objective) == ("none", "dr_grpo", "levin")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"objective": "lavin"}, "unknown objective 'lavin'"),
        ({"loss_type": "grpo"}, "length bias"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "sum_then_normalize"),
        ({"prompt_cost": 0.0}, "positive"),
        ({"exploration_fraction": 1.5}, "exploration_fraction"),
        ({"budgets": [8, 16], "budget_prior": [1.0]}, "a weight of at least 0 for each"),
        ({"budget_curriculum_fraction": 0.5}, "needs budgets"),
        ({"budgets": [8, 16], "budget_prior": [1.0, 0.0], "budget_curriculum_fraction": 0.5}, "rules out"),
        ({"bounded_time_elasticity": 0.1}, "needs objective levin and budgets"),
        ({"bounded_time_elasticity": -1.0, "budgets": [8]}, "must be at least 0"),
    ],
)
def test_settings_under_which_a_price_means_nothing_are_refused(tmp_path, wrong, message):
    with pytest.raises(UserError, match=message):
        make(tmp_path, **wrong)


def test_rescaling_by_the_group_warns(tmp_path):
    with pytest.warns(UserWarning, match="no unit"):
        make(tmp_path, scale_rewards="group")
