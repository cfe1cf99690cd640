"""Every objective against values worked out by hand."""

import inspect
import json
import math

import pytest
import torch

from timecost.errors import UserError
from timecost.objectives import REGISTRY, STRENGTH, Objective, accuracy, levin, linear

NAN = float("nan")


def close(actual, expected):
    torch.testing.assert_close(actual, torch.tensor(expected), equal_nan=True, atol=1e-5, rtol=1e-5)


def test_accuracy_is_correctness():
    close(accuracy(torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0, 9.0]])), [[1.0, 0.0]])


def test_net_prices_every_answer():
    close(REGISTRY["net"](torch.tensor([[1.0, 0.0]]), torch.tensor([[10.0, 5.0]]), price=0.01), [[0.9, -0.05]])


def test_linear_prices_correct_answers_only():
    close(linear(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[10.0, 30.0, 5.0]]), price=0.01), [[0.9, 0.7, 0.0]])


CORRECT = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
COST = torch.tensor([[2.0, 8.0, 2.0, 8.0]])  # log-mean 4, mean 5
LOG2 = math.log(2)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        # p = 1/2; log T - mean log T = -/+ log 2; (T - 5)/5 = -/+ 0.6
        ({"weighting": "success"}, [0.5 + 0.05 * LOG2, 0.5 - 0.05 * LOG2, -0.5 + 0.05 * LOG2, -0.5 - 0.05 * LOG2]),
        ({"weighting": "exact"}, [1 + 0.1 * LOG2, 1 - 0.1 * LOG2, -1 + 0.1 * LOG2, -1 - 0.1 * LOG2]),
        ({"weighting": "exact", "time": "mean"}, [1.06, 0.94, -0.94, -1.06]),
        ({"time_on": "correct"}, [0.5 + 0.1 * LOG2, 0.5 - 0.1 * LOG2, -0.5, -0.5]),
        ({"time_on": "correct", "time": "mean"}, [0.56, 0.44, -0.5, -0.5]),
    ],
)
def test_levin_forms(form, expected):
    close(levin(CORRECT, COST, time_elasticity=0.1, **form), [expected])


@pytest.mark.parametrize("weighting", ["exact", "success"])
@pytest.mark.parametrize("time", ["log", "mean"])
@pytest.mark.parametrize("time_on", ["all", "correct"])
def test_levin_is_centred_and_linear_in_the_price(weighting, time, time_on):
    torch.manual_seed(0)
    correct = (torch.rand(20, 8) < 0.5).float()
    cost = torch.rand(20, 8) * 50 + 1
    form = {"weighting": weighting, "time": time, "time_on": time_on}
    free, one, two = (levin(correct, cost, time_elasticity=e, **form) for e in (0.0, 0.1, 0.2))
    torch.testing.assert_close(one.sum(1), torch.zeros(20), atol=1e-4, rtol=0)
    torch.testing.assert_close(two - free, 2 * (one - free), atol=1e-5, rtol=0)


def test_levin_says_nothing_about_a_prompt_without_a_correct_answer():
    for time_on in ("all", "correct"):
        for weighting in ("exact", "success"):
            close(
                levin(torch.zeros(1, 2), torch.tensor([[3.0, 9.0]]), weighting=weighting, time_on=time_on), [[0.0, 0.0]]
            )


def test_levin_does_not_depend_on_the_unit_of_time():
    torch.testing.assert_close(levin(CORRECT, COST), levin(CORRECT, 1000 * COST))


@pytest.mark.parametrize("name", REGISTRY)
def test_a_verifier_error_is_out_of_every_statistic(name):
    def three_steps(correct, cost):
        objective = Objective(name, **{"acoer": {"warmup": 0, "window": 1}, "dual": {"budget": 3}}.get(name, {}))
        for _ in range(3):
            told = {"budget": torch.full_like(cost, 6.0), "problem_ids": ["a"], "max_length": 10.0}
            out = objective(correct, cost, **told)
        return out

    with_error = three_steps(torch.tensor([[1.0, NAN, 0.0]]), torch.tensor([[4.0, 999.0, 8.0]]))
    without = three_steps(torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 8.0]]))
    assert torch.isnan(with_error[0, 1])
    torch.testing.assert_close(with_error[:, [0, 2]], without)


def test_a_group_of_verifier_errors_gives_nan():
    assert torch.isnan(levin(torch.full((1, 2), NAN), torch.tensor([[3.0, 9.0]]))).all()


@pytest.mark.parametrize("wrong", [{"weighting": "x"}, {"time": "x"}, {"time_on": "x"}, {"time_elasticity": -1.0}])
def test_levin_refuses_unknown_forms(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        levin(CORRECT, COST, **wrong)


LOG6 = math.log(6)
SIGMOID1 = 1 / (1 + math.exp(-1))


def test_maxrl_weighs_a_rare_success_more():
    close(Objective("maxrl")(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.ones(1, 4)), [[3.0, -1.0, -1.0, -1.0]])
    close(Objective("maxrl")(torch.zeros(1, 2), torch.ones(1, 2)), [[0.0, 0.0]])


@pytest.mark.parametrize(
    ("name", "kwargs", "correct", "cost", "expected"),
    [
        # |20 - 10| = 10, |20 - 50| = 30
        ("lcpo_exact", {"alpha": 0.01, "budget": 20.0}, [1, 1, 0], [10, 50, 20], [0.9, 0.7, 0.0]),
        # 0.01 * (20 - L) + 0.5: 0.6, 0.2, and -0.3 and 1.2 clipped
        ("lcpo_max", {"alpha": 0.01, "budget": 20.0}, [1, 1, 1, 0], [10, 50, 100, 10], [0.6, 0.2, 0.0, 0.0]),
        # the correct lengths 10 and 30: mean 20, std 10, z = -1 and 1
        ("arora", {"alpha": 0.4}, [1, 1, 0], [10, 30, 99], [1 - 0.4 * (1 - SIGMOID1), 1 - 0.4 * SIGMOID1, 0.0]),
        ("arora", {"alpha": 0.4}, [1, 1, 0], [10, 10, 99], [0.8, 0.8, 0.0]),
        # places 0, 0.5, 1 of the range: 0.5, 0, -0.5; wrong ones keep the loss alone
        ("kimi", {"weight": 1.0}, [1, 1, 1], [10, 20, 30], [1.5, 1.0, 0.5]),
        ("kimi", {"weight": 0.5}, [0, 1, 0], [10, 20, 30], [0.0, 1.0, -0.25]),
        ("kimi", {}, [1, 0], [10, 10], [1.0, 0.0]),
        # Lmax 100, Lc 20: nothing up to 80, half at 90, all from 100
        ("overlong", {"max_length": 100.0, "cache": 20.0}, [1, 1, 0, 1], [80, 90, 90, 200], [1.0, 0.5, -0.5, 0.0]),
        ("overlong", {"max_length": 100.0, "weight": 0.5}, [1, 1], [80, 90], [1.0, 0.75]),
        ("laser", {"target": 20.0}, [1, 1, 0], [20, 21, 5], [1.5, 1.0, -0.5]),
        # p = 2/3: 0.01 * 2/3 * L; p = 0: the floor 1/2
        ("alp", {"beta": 0.01}, [1, 1, 0], [30, 60, 30], [0.8, 0.6, -0.2]),
        ("alp", {"beta": 0.01}, [0, 0], [10, 20], [-0.05, -0.1]),
        # the shortest correct length is 20; without a correct one the mean, 15
        ("shorter_better", {"beta": 0.01}, [1, 1, 0], [20, 50, 10], [2.0, 1.7, -0.1]),
        ("shorter_better", {"beta": 0.01}, [0, 0], [10, 20], [-0.05, -0.05]),
        ("lead", {"alpha": 0.1}, [1, 1, 0], [10, 30, 99], [math.exp(0.1), math.exp(-0.1), -1.0]),
        # the mean is 20: within 15, or not
        ("effort", {"effort": 0.75}, [1, 1, 0], [15, 35, 10], [1.0, 0.0, 0.0]),
    ],
)  # fmt: skip
def test_by_hand(name, kwargs, correct, cost, expected):
    close(Objective(name, **kwargs)(torch.tensor([correct]).float(), torch.tensor([cost]).float()), [expected])


def test_what_a_prompt_asks_for_goes_before_what_is_set():
    correct, cost = torch.ones(2, 2), torch.tensor([[14.0, 24.0], [14.0, 24.0]])
    asked = {"budget": torch.tensor([[10.0, 10.0], [torch.inf, torch.inf]]), "thinking": cost - 4}
    close(Objective("lcpo_exact", alpha=0.01, budget=5.0)(correct, cost, **asked), [[1.0, 0.9], [1.0, 1.0]])
    close(Objective("lcpo_max", alpha=0.01)(correct, cost, **asked), [[0.5, 0.4], [1.0, 1.0]])
    close(Objective("effort")(correct, cost, effort=torch.tensor([[0.5, 0.5], [2.0, 2.0]])), [[0.0, 0.0], [1.0, 1.0]])


def test_the_limit_of_truncation_is_lowered_in_stages():
    prune = Objective("truncation", limits=[30, 20], steps_per_stage=10)
    correct, cost = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[20.0, 30.0, 5.0]])
    close(prune(correct, cost, step=9), [[1.0, 1.0, 0.0]])
    close(prune(correct, cost, step=10), [[1.0, 0.0, 0.0]])
    close(prune(correct, cost, step=1000), [[1.0, 0.0, 0.0]])


def test_laser_d_finds_a_target_for_each_level():
    """K = 6. Always solved: C = 4, so a quarter of 4, 8 .. 24 is enough: the second shortest, 8. A third: C = 2, half
    of 10 and 40: 10. Below that: C = 1, all."""
    objective = Objective("laser_d")
    correct = torch.tensor([[1.0] * 6, [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    cost = torch.tensor([[4.0, 8, 12, 16, 20, 24], [10, 40, 1, 1, 1, 1], [90, 1, 1, 1, 1, 1]])
    out = objective(correct, cost)
    close(out[0], [1.5, 1.5, 1.0, 1.0, 1.0, 1.0])
    close(out[1, :3], [1.5, 1.0, -0.5])
    assert out[2, 0] == 1.5
    later = objective(torch.ones(1, 6), torch.full((1, 6), 10.0), update=False)
    close(later, [[1.0] * 6])


def test_hapo_compares_with_the_best_of_earlier_times():
    objective = Objective("hapo")
    correct = torch.tensor([[1.0, 1.0, 0.0]])
    cost = torch.tensor([[10.0, 20.0, 5.0]])
    close(objective(correct, cost, problem_ids=["a"]), [[1.0, 1.0, 0.0]])
    # h = 10: cos(pi/2 * L/10) is 0 at 10, -1 at 20 (floor -0.7), positive at 5 (nothing for a wrong answer)
    close(objective(correct, cost, problem_ids=["a"]), [[1.0, 0.3, 0.0]])
    close(objective(torch.tensor([[0.0, 1.0]]), torch.tensor([[20.0, 5.0]]), problem_ids=["a"]), [[-1.0, 1 + 0.5**0.5]])
    close(objective(torch.tensor([[1.0]]), torch.tensor([[5.0]]), problem_ids=["b"]), [[1.0]])
    close(objective(torch.tensor([[1.0]]), torch.tensor([[5.0]]), problem_ids=["a"]), [[1.0]])


def test_acoer_raises_its_weight_while_accuracy_holds():
    objective = Objective("acoer", alpha=0.1, warmup=0, window=2, span=1)
    correct, cost = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[10.0, 30.0, 5.0]])
    # B = 0.85 * 20 = 17
    first = 1 + 0.1 * math.log(1 + 5 * (1 - 10 / 17)) / LOG6
    close(objective(correct, cost), [[first, 1.0, 0.0]])
    objective(correct, cost)
    assert objective.function.alpha == pytest.approx(0.102)
    objective(torch.tensor([[1.0, 0.0, 0.0]]), cost)  # accuracy fell by a third
    assert objective.function.alpha == pytest.approx(0.102 * 0.95)
    assert objective.function.budget == pytest.approx(0.85 * 10)


def test_the_dual_variable_follows_the_mean_length():
    objective = Objective("dual", budget=20, rate=0.5)
    correct, cost = torch.tensor([[1.0, 0.0]]), torch.tensor([[10.0, 50.0]])
    close(objective(correct, cost), [[1.0, 0.0]])  # mean 30: the price becomes 0.5 * 0.5
    close(objective(correct, cost), [[1.0, -0.375]])  # 0.25 * 30/20
    for _ in range(9):
        objective(correct, torch.ones(1, 2))
    assert objective.function.price == 0


STATEFUL = {"laser_d": {}, "hapo": {}, "acoer": {"warmup": 1, "window": 2}, "dual": {"budget": 10, "rate": 0.5}}


def some_steps(num_steps):
    generator = torch.Generator().manual_seed(0)
    for _ in range(num_steps):
        correct = (torch.rand(4, 6, generator=generator) < 0.6).float()
        yield correct, torch.rand(4, 6, generator=generator) * 40 + 1


@pytest.mark.parametrize("name", STATEFUL)
def test_a_state_goes_through_json_and_goes_on(name):
    whole = Objective(name, **STATEFUL[name])
    steps = list(some_steps(6))
    out = [whole(*step, problem_ids=list("abcd")) for step in steps]
    first, second = Objective(name, **STATEFUL[name]), Objective(name, **STATEFUL[name])
    for step in steps[:4]:
        first(*step, problem_ids=list("abcd"))
    fresh = second(*steps[4], problem_ids=list("abcd"), update=False)
    assert not torch.equal(fresh, out[4]), "the state matters"
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for step, expected in zip(steps[4:], out[4:], strict=True):
        assert torch.equal(second(*step, problem_ids=list("abcd")), expected)


@pytest.mark.parametrize("name", STATEFUL)
def test_evaluation_teaches_nothing(name):
    objective = Objective(name, **STATEFUL[name])
    before = json.dumps(objective.state_dict())
    for step in some_steps(4):
        objective(*step, problem_ids=list("abcd"), update=False)
    assert json.dumps(objective.state_dict()) == before


def test_a_prompt_without_a_bound_keeps_its_worth_where_the_price_is_zero():
    unbounded = {"budget": torch.tensor([[torch.inf]]), "thinking": COST[:1], "price_factor": 0.0}
    for name in ("lcpo_exact", "lcpo_max"):
        close(Objective(name)(CORRECT[:1], COST[:1], **unbounded), CORRECT[:1].tolist())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("linear", {"price": -0.1}), ("net", {"price": math.nan}), ("kimi", {"weight": -1}), ("dual", {"budget": 0}),
     ("laser_d", {"window": 0}), ("truncation", {"steps_per_stage": 0}), ("truncation", {"limits": [20, 0]}),
     ("acoer", {"span": 0})],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(name, wrong):
    with pytest.raises(UserError, match=f"objective {name}: {next(iter(wrong))}=.* must be"):
        Objective(name, **wrong)


@pytest.mark.parametrize("name", STRENGTH)
def test_the_price_factor_multiplies_the_strength(name):
    correct, cost = next(some_steps(1))
    budget = {"budget": torch.full((4, 6), 20.0)}
    default = inspect.signature(REGISTRY[name]).parameters[STRENGTH[name]].default
    doubled = Objective(name, **{STRENGTH[name]: 2 * default})(correct, cost, **budget)
    torch.testing.assert_close(Objective(name)(correct, cost, price_factor=2.0, **budget), doubled)


def test_a_factor_where_there_is_no_price():
    with pytest.raises(ValueError, match="accuracy has no price"):
        Objective("accuracy")(CORRECT, COST, price_factor=2.0)


@pytest.mark.parametrize("name", ["linear", "net", "levin", "alp", "lcpo_exact"])
def test_priced_objectives_are_linear_in_their_price(name):
    correct, cost = next(some_steps(1))
    told = {"budget": torch.full((4, 6), 20.0)}

    def advantage(factor):
        value = Objective(name)(correct, cost, price_factor=factor, **told)
        return value - value.mean(1, keepdim=True)

    free, one, ten = (advantage(factor) for factor in (0.0, 1.0, 10.0))
    torch.testing.assert_close(ten - free, 10 * (one - free), atol=1e-5, rtol=1e-5)


def test_arguments_that_do_not_exist():
    with pytest.raises(UserError, match="objective dual has no argument 'price': it has budget, rate, ceiling, start"):
        Objective("dual", price=1)
    with pytest.raises(UserError, match="unknown objective 'lazer', did you mean 'laser'"):
        Objective("lazer")
    with pytest.raises(ValueError, match="lcpo needs a budget"):
        Objective("lcpo_max")(CORRECT, COST)


def test_correctness_may_be_yes_or_no_and_lengths_whole_numbers():
    correct, cost = torch.tensor([[True, True, False]]), torch.tensor([[10, 20, 10]])
    told = Objective("levin", time_elasticity=0.1)(correct, cost)
    torch.testing.assert_close(told, Objective("levin", time_elasticity=0.1)(correct.float(), cost.float()))
    with pytest.raises(UserError, match="a cost is 0: it must be positive"):
        Objective("levin")(correct, 0 * cost)
