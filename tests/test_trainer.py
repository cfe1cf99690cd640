"""The trainer on an untrained two-layer model: what reaches TRL, what is logged, what is refused."""

import inspect
import sys

import pytest
import torch
from datasets import Dataset
from trl import GRPOTrainer

from timecost.config import TimeCostConfig
from timecost.errors import UserError
from timecost.objectives import REGISTRY
from timecost.tasks import arithmetic
from timecost.trainer import TimeCostTrainer, bind_objective
from timecost.verifiers import Reward

ROWS = Dataset.from_list([{"prompt": p.prompt, "answer": p.answer} for p in arithmetic.problems("train", 16)])


def odd_length(completions, **kwargs):
    """A verifier that an untrained model can satisfy."""
    return [float(len(completion) % 2) for completion in completions]


def make_trainer(folder, tmp_path, *, verifier=odd_length, **kwargs):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = kwargs.pop("processing_class", None) or AutoTokenizer.from_pretrained(folder)
    extra = {
        name: kwargs.pop(name)
        for name in ("reward_funcs", "reward_processing_classes", "peft_config", "tools", "style_of")
        if name in kwargs
    }
    settings = {
        "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 12, "max_steps": 2,
        "learning_rate": 1e-3, "logging_steps": 1, "save_strategy": "no", "report_to": "none",
    }  # fmt: skip
    args = TimeCostConfig(
        output_dir=str(tmp_path), bf16=False, gradient_checkpointing=False, use_cpu=True, disable_tqdm=True,
        **(settings | kwargs),
    )  # fmt: skip
    return TimeCostTrainer(
        AutoModelForCausalLM.from_pretrained(folder), args, verifier=verifier, train_dataset=ROWS, eval_dataset=ROWS,
        processing_class=tokenizer, **extra,
    )  # fmt: skip


def roll_out(trainer):
    """One generation batch of two prompts, four completions each, as the training loop would prepare it."""
    trainer.model.train()
    return trainer._generate_and_score_completions([dict(row) for row in ROWS.select([0] * 4 + [1] * 4)])


def logged(trainer, key):
    return [entry[key] for entry in trainer.state.log_history if key in entry]


def test_the_hooks_that_are_extended_are_still_there():
    """Private methods of TRL: when a signature moves, the bound on trl in pyproject.toml must move with it."""
    signatures = {
        "_generate_and_score_completions": ["self", "inputs"],
        "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
        "_prepare_inputs": ["self", "generation_batch"],
        "_compute_loss": ["self", "model", "inputs"],
        "create_model_card": ["self", "model_name", "dataset_name", "tags"],
        "_log_completion_extra": ["self", "column", "values"],
    }
    for name, parameters in signatures.items():
        assert list(inspect.signature(getattr(GRPOTrainer, name)).parameters) == parameters


def test_what_is_logged(tiny_arithmetic, tmp_path):
    trainer = make_trainer(tiny_arithmetic, tmp_path, style_of=arithmetic.style_of)
    trainer.train()
    for entry in trainer.state.log_history[:2]:
        tokens = entry["timecost/thinking_tokens"] + entry["timecost/answer_tokens"]
        assert tokens == pytest.approx(entry["timecost/tokens"]) == pytest.approx(entry["completions/mean_length"])
        assert 0 < entry["timecost/accuracy"] < 1
        assert sum(value for key, value in entry.items() if "style/" in key) == pytest.approx(1)
        assert entry["timecost/verifier_errors"] == 0
        assert entry["rewards/objective/mean"] == pytest.approx(0, abs=1e-5)  # levin is centred; accuracy is not lost


def test_the_table_of_completions_has_tokens_and_cost(tiny_arithmetic, tmp_path):
    import pandas

    trainer = make_trainer(tiny_arithmetic, tmp_path, log_completions=True, max_steps=1, num_completions_to_print=1)
    trainer.train()
    table = pandas.read_parquet(tmp_path / "completions" / "completions_00001.parquet")
    assert len(table) == 8 and (table["cost"] == table["thinking"] + table["answer"] + 1).all()
    assert (table["thinking"] + table["answer"]).mean() == pytest.approx(logged(trainer, "timecost/tokens")[0])


def test_the_table_keeps_its_columns_in_line_with_budgets_values_and_evaluation(with_ladder, tmp_path):
    import pandas

    from timecost.value.joint import JointValueHead
    from timecost.value.steps import StepRule

    trainer = make_trainer(
        with_ladder, tmp_path, budgets=[8], budget_inf_share=0.0, log_completions=True, num_completions_to_print=1,
        eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=4, num_generations_eval=1,
    )  # fmt: skip
    trainer.eval_dataset = ROWS.select(range(4))  # fewer than the table has rows
    trainer.joint_value = JointValueHead(trainer.processing_class, StepRule(every=4), 5, [2], 12, share=0.25)
    trainer.train()
    first, second = (
        pandas.read_parquet(tmp_path / "completions" / f"completions_0000{step}.parquet") for step in (1, 2)
    )
    assert len(first) == len(second) == 8  # those of a step; the last rows of the evaluation's table are its own
    assert set(first["budget"][:4]) == {"8"} and set(first["budget"][4:]) == {"inf"}, "evaluation asks for none"
    assert first["value"][4:].isna().all()
    known = [(row.prompt, row.value) for row in second.itertuples() if row.value == row.value]
    assert known and len(set(known)) == len({prompt for prompt, _ in known}), "one forecast for a prompt"


def test_trackio_gets_metrics_and_the_table_of_completions(tiny_arithmetic, tmp_path, monkeypatch):
    import sqlite3

    pytest.importorskip("trackio")
    for name, module in list(sys.modules.items()):  # TRL imports it, so that TRACKIO_DIR would come too late
        if name.partition(".")[0] == "trackio" and hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    trainer = make_trainer(
        tiny_arithmetic, tmp_path, report_to="trackio", project="sums", log_completions=True, max_steps=1
    )
    trainer.train()
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        logged = b" ".join(bytes(row[0]) for row in connection.execute("select metrics from metrics")).decode()
    assert "timecost/tokens" in logged and "completions" in logged


def test_the_card_is_ours(tiny_arithmetic, tmp_path):
    trainer = make_trainer(tiny_arithmetic, tmp_path, time_elasticity=0.07)
    trainer.create_model_card(dataset_name="sums")
    card = (tmp_path / "README.md").read_text()
    assert "Its time elasticity was 0.07" in card and "| task | sums |" in card


def test_advantages_are_the_objective_and_linear_in_the_price(tiny_arithmetic, tmp_path):
    def advantages(elasticity):
        trainer = make_trainer(tiny_arithmetic, tmp_path, time_elasticity=elasticity)
        torch.manual_seed(0)
        return roll_out(trainer)["advantages"]

    free, one, hundred = (advantages(elasticity) for elasticity in (0.0, 0.01, 1.0))
    assert (one - free).abs().max() > 1e-3
    torch.testing.assert_close(hundred - free, 100 * (one - free), atol=1e-4, rtol=1e-3)


def test_a_verifier_that_fails_too_often_ends_training_with_one_line(tiny_arithmetic, tmp_path):
    def broken(completions, answers):
        raise RuntimeError("a bug")

    trainer = make_trainer(tiny_arithmetic, tmp_path, verifier=Reward(broken, window=100))
    with pytest.raises(UserError, match="step 0: 8 of the last 8 completions could not be verified") as error:
        trainer.train()
    assert "\n" not in str(error.value)


def test_a_verifier_error_moves_nothing_and_is_counted(tiny_arithmetic, tmp_path):
    def sometimes_fails(completions, **kwargs):
        return [None if i % 4 == 0 else float(i % 2) for i in range(len(completions))]

    trainer = make_trainer(tiny_arithmetic, tmp_path, verifier=sometimes_fails)
    batch = roll_out(trainer)
    assert batch["advantages"][[0, 4]].tolist() == [0, 0]
    assert batch["advantages"][[1, 5]].abs().min() > 0.1
    assert trainer._metrics["train"]["timecost/verifier_errors"] == [0.25]
    assert trainer._metrics["train"]["timecost/accuracy"] == [pytest.approx(2 / 3)]


def test_other_rewards_are_added_unpriced(tiny_arithmetic, tmp_path):
    def bonus(completions, **kwargs):
        return [float(i % 4 == 0) for i in range(len(completions))]

    def never(completions, **kwargs):
        return [0.0] * len(completions)

    trainer = make_trainer(tiny_arithmetic, tmp_path, verifier=never, reward_funcs=bonus, time_elasticity=100.0)
    batch = roll_out(trainer)
    assert batch["advantages"].tolist() == pytest.approx([0.75, -0.25, -0.25, -0.25] * 2)


def test_a_verifier_error_moves_nothing_beside_other_rewards(tiny_arithmetic, tmp_path):
    def first_fails(completions, **kwargs):
        return [None if i % 4 == 0 else 1.0 for i in range(len(completions))]

    def no_bonus(completions, **kwargs):
        return [0.0] * len(completions)

    trainer = make_trainer(tiny_arithmetic, tmp_path, verifier=first_fails, reward_funcs=no_bonus, objective="accuracy")
    assert roll_out(trainer)["advantages"].tolist() == [0.0] * 8, "all that were judged are right"


def test_a_verifier_that_scores_outside_0_and_1_is_refused(tiny_arithmetic, tmp_path):
    trainer = make_trainer(tiny_arithmetic, tmp_path, verifier=lambda completions, **kwargs: [-1.0] * len(completions))
    with pytest.raises(UserError, match=r"scored -1: correctness lies in \[0, 1\]"):
        roll_out(trainer)


def test_a_verifier_sees_the_thinking_that_the_template_opened(tiny_qwen3, tmp_path):
    from conftest import build_chat_tokenizer

    seen = []

    def look(completions, **kwargs):
        seen.extend(completion[0]["content"] for completion in completions)
        return [1.0] * len(completions)

    tokenizer = build_chat_tokenizer()
    tokenizer.chat_template += "{% if add_generation_prompt %}<think>\n{% endif %}"
    trainer = make_trainer(tiny_qwen3, tmp_path, verifier=look, processing_class=tokenizer)
    trainer.model.train()
    question = {"prompt": [{"role": "user", "content": "1+1?"}], "answer": "2"}
    trainer._generate_and_score_completions([dict(question) for _ in range(4)])
    assert len(seen) == 4 and all(text.startswith("<think>") for text in seen)


def test_sorting_by_length_leaves_the_step_as_it_is(tiny_arithmetic, tmp_path, monkeypatch):
    def weights_after_a_step():
        trainer = make_trainer(
            tiny_arithmetic, tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=4, max_steps=1
        )
        trainer.train()
        return torch.cat([p.detach().flatten() for p in trainer.model.parameters()]), trainer

    is_sorted, trainer = weights_after_a_step()
    widths = [batch["completion_ids"].shape[1] for batch in trainer._buffered_inputs]
    assert widths == sorted(widths) and widths[0] < widths[-1]
    monkeypatch.setattr(TimeCostTrainer, "_may_sort", lambda self: False)
    as_dealt, _ = weights_after_a_step()
    torch.testing.assert_close(is_sorted, as_dealt, atol=2e-5, rtol=0)


@pytest.mark.parametrize("option", [{"top_entropy_quantile": 0.2}, {"entropy_coef": 0.1}])
def test_what_a_micro_batch_decides_as_a_whole_is_not_sorted(tiny_arithmetic, tmp_path, option):
    sizes = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    trainer, other = (
        make_trainer(tiny_arithmetic, tmp_path, **sizes),
        make_trainer(tiny_arithmetic, tmp_path, **sizes, **option),
    )
    for one in (trainer, other):
        one._buffered_inputs = [{"completion_mask": torch.ones(4, 2)}] * 4
    assert trainer._may_sort() and not other._may_sort()


def test_completions_masked_as_truncated_can_fill_a_micro_batch(tiny_arithmetic, tmp_path):
    trainer = make_trainer(
        tiny_arithmetic, tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=4, max_steps=1,
        mask_truncated_completions=True, max_completion_length=2,
    )  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 1


def test_evaluation_gives_metrics_that_can_choose_the_best_checkpoint(tiny_arithmetic, tmp_path):
    trainer = make_trainer(
        tiny_arithmetic, tmp_path, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1,
        per_device_eval_batch_size=8, metric_for_best_model="eval_timecost/accuracy", load_best_model_at_end=True,
    )  # fmt: skip
    trainer.train()
    assert len(logged(trainer, "eval_timecost/tokens")) == 2
    assert trainer.state.best_metric == max(logged(trainer, "eval_timecost/accuracy"))


def test_exploration_fades(tiny_arithmetic, tmp_path):
    trainer = make_trainer(tiny_arithmetic, tmp_path, entropy_coef=0.1, exploration_fraction=1.0, max_steps=3)
    trainer.train()
    assert logged(trainer, "entropy_coef") == pytest.approx([0.1, 0.2 / 3, 0.1 / 3])


def test_lora_trains_the_adapter_alone(tiny_arithmetic, tmp_path):
    from peft import LoraConfig

    trainer = make_trainer(tiny_arithmetic, tmp_path, peft_config=LoraConfig(r=4, target_modules="all-linear"))
    frozen = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if "lora" not in name}
    trainer.train()
    assert all(torch.equal(p, frozen[name]) for name, p in trainer.model.named_parameters() if name in frozen)
    assert any(p.abs().sum() > 0 for name, p in trainer.model.named_parameters() if "lora_B" in name)


def test_a_loss_that_is_not_finite_stops_training(tiny_arithmetic, tmp_path):
    trainer = make_trainer(tiny_arithmetic, tmp_path)
    with torch.no_grad():
        trainer.model.model.layers[0].input_layernorm.weight.fill_(float("nan"))
    trainer.generation_config.do_sample = False  # sampling refuses NaN before the loss could
    with pytest.raises(UserError, match="loss is nan at step 0"):
        trainer.train()


def test_what_is_refused(tiny_arithmetic, tmp_path):
    with pytest.raises(UserError, match="tools is not supported"):
        make_trainer(tiny_arithmetic, tmp_path, tools=[print])
    with pytest.raises(UserError, match="'</thought>' that ends the thinking"):
        make_trainer(tiny_arithmetic, tmp_path, think_end="</thought>")
    with pytest.raises(UserError, match="objective accuracy has no argument 'price'"):
        bind_objective(
            TimeCostConfig(output_dir=str(tmp_path), bf16=False, objective="accuracy", objective_kwargs={"price": 1})
        )


def budget_trainer(folder, tmp_path, **kwargs):
    trainer = make_trainer(folder, tmp_path, budgets=[8], **kwargs)
    trainer.seen = []
    original = trainer._calculate_rewards

    def spy(inputs, prompts, completions, completion_ids_list):
        trainer.seen += zip(prompts, [row["budget"] for row in inputs], completion_ids_list, strict=True)
        return original(inputs, prompts, completions, completion_ids_list)

    trainer._calculate_rewards = spy
    return trainer


def test_each_group_is_asked_for_one_budget_and_an_overrun_is_wrong(with_ladder, tmp_path):
    trainer = budget_trainer(with_ladder, tmp_path, verifier=lambda completions, **kwargs: [1.0] * len(completions))
    for _ in range(8):
        roll_out(trainer)
        trainer.state.global_step += 1
    groups = [trainer.seen[i : i + 4] for i in range(0, len(trainer.seen), 4)]
    assert all(len({(prompt, budget) for prompt, budget, _ in group}) == 1 for group in groups)
    assert {budget for _, budget, _ in trainer.seen} == {8, None}
    assert all(prompt.startswith("<|budget_8|>") for prompt, budget, _ in trainer.seen if budget)
    overruns = [trainer.think_end_id not in ids[:9] for _, budget, ids in trainer.seen if budget]
    assert trainer._metrics["train"]["timecost/overshoot"] != [0.0] * 8
    at_rung = trainer._metrics["train"]["timecost/budget_8/accuracy"]
    assert sum(at_rung) / len(at_rung) < 1 and any(overruns)


def test_enforced_budgets_hold_and_the_forced_token_gets_no_gradient(with_ladder, tmp_path):
    trainer = budget_trainer(with_ladder, tmp_path, enforce_budgets=True, budget_inf_share=0.0)
    output = roll_out(trainer)
    closed = output["completion_ids"] == trainer.think_end_id
    assert closed[:, :9].any(1).all(), "every row closes its thinking within 8 tokens"
    forced = closed[:, 8]
    assert forced.any() and (output["tool_mask"][forced, 8] == 0).all()
    assert int((output["tool_mask"] == 0).sum()) == int(forced.sum())
    assert "generate" not in vars(trainer.model)
    trainer.args.max_steps = 2
    trainer.train()
    assert logged(trainer, "timecost/overshoot") == [0.0, 0.0]


def test_budgets_that_the_model_does_not_know(tiny_arithmetic, with_ladder, tmp_path):
    with pytest.raises(UserError, match="no budget tokens"):
        make_trainer(tiny_arithmetic, tmp_path, budgets=[8])
    with pytest.raises(UserError, match="budget 12 is not a rung of the model: it knows 8, 16"):
        make_trainer(with_ladder, tmp_path, budgets=[8, 12], max_completion_length=20)


def test_a_curriculum_opens_the_rungs_from_the_largest(tiny_arithmetic, with_ladder, tmp_path):
    trainer = make_trainer(
        with_ladder,
        tmp_path,
        budgets=[8, 16],
        budget_inf_share=0.0,
        budget_curriculum_fraction=0.5,
        max_steps=20,
        max_completion_length=20,
    )
    trainer.state.max_steps = 20
    drawn = {}
    for step in (0, 1, 2, 11, 12, 13, 14, 15):
        trainer.state.global_step = step
        rows = trainer._draw_requests([dict(row) for row in ROWS.select([0] * 4 + [1] * 4)])
        drawn.setdefault(step > 10, set()).update(row["budget"] for row in rows)
    assert drawn == {False: {16}, True: {8, 16}}


def test_time_has_its_own_elasticity_within_a_bound(with_ladder, tmp_path):
    trainer = budget_trainer(with_ladder, tmp_path, time_elasticity=0.4, bounded_time_elasticity=0.1)
    trainer.model.train()
    seen = {}
    for step in range(8):
        trainer.state.global_step = step
        inputs = trainer._draw_requests([dict(row) for row in ROWS.select([0] * 4 + [1] * 4)])
        ids = [[6] * 2 + [5, 6, 2], [6] * 6 + [5, 6, 2]] * 4
        rewards = trainer._calculate_rewards(inputs, [row["prompt"] for row in inputs], ["x"] * 8, ids)[:, 0]
        for group in (0, 4):
            seen[inputs[group]["budget"]] = rewards[group] - rewards[group + 1]
    assert set(seen) == {8, None}
    assert seen[None] == pytest.approx(4 * seen[8].item()) and seen[8] > 0


def test_each_group_is_priced_by_the_effort_that_its_prompt_asks_for(tiny_arithmetic, tmp_path):
    """The same completions get advantages in proportion to the elasticity of their group."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from timecost.effort import add_effort_tokens

    efforts = {"low": 0.4, "mid": 0.2, "high": 0.0}
    model = AutoModelForCausalLM.from_pretrained(tiny_arithmetic)
    tokenizer = AutoTokenizer.from_pretrained(tiny_arithmetic)
    add_effort_tokens(model, tokenizer, efforts)
    model.save_pretrained(tmp_path / "efforts")
    trainer = make_trainer(
        str(tmp_path / "efforts"), tmp_path, efforts=efforts, processing_class=tokenizer,
        verifier=lambda completions, **kwargs: [1.0] * len(completions),
    )  # fmt: skip
    trainer.model.train()
    seen = {}
    for step in range(12):
        trainer.state.global_step = step
        inputs = trainer._draw_requests([dict(row) for row in ROWS.select([0] * 4 + [1] * 4)])
        ids = [[6] * 2 + [5, 6, 2], [6] * 6 + [5, 6, 2]] * 4
        rewards = trainer._calculate_rewards(inputs, [row["prompt"] for row in inputs], ["x"] * 8, ids)[:, 0]
        for group in (0, 4):
            assert len({row["prompt"] for row in inputs[group : group + 4]}) == 1
            assert effort_of(inputs[group]["prompt"], efforts) == inputs[group]["effort"]
            seen[inputs[group]["effort"]] = rewards[group] - rewards[group + 1]
    assert set(seen) == {0.4, 0.2, 0.0}
    assert seen[0.0] == 0 and seen[0.4] == pytest.approx(2 * seen[0.2].item()) and seen[0.2] > 0
    assert "timecost/effort_low/tokens" in trainer._metrics["train"]


def effort_of(prompt, efforts):
    return next(value for name, value in efforts.items() if prompt.startswith(f"<|effort_{name}|>"))


def test_efforts_that_the_model_does_not_know(tiny_arithmetic, tmp_path):
    with pytest.raises(UserError, match="no effort tokens"):
        make_trainer(tiny_arithmetic, tmp_path, efforts={"low": 0.1})
    with pytest.raises(UserError, match="not for accuracy"):
        make_trainer(tiny_arithmetic, tmp_path, efforts={"low": 0.1}, objective="accuracy")


def two_lengths(trainer):
    """The objective on two prompts with a short and a long completion each, all of them correct."""
    trainer.model.train()
    inputs = [dict(row, effort=0.5, budget=8) for row in ROWS.select([0] * 4 + [1] * 4)]
    ids = [[6] * 2 + [5, 6, 2], [6] * 6 + [5, 6, 2]] * 4
    prompts = [row["prompt"] for row in inputs]
    return trainer._calculate_rewards(inputs, prompts, ["x"] * 8, ids)[:, 0].view(2, 4)


ALWAYS = {"verifier": lambda completions, **kwargs: [1.0] * len(completions)}


@pytest.mark.parametrize("name", REGISTRY)
def test_every_objective_gets_what_it_asks_for(tiny_arithmetic, tmp_path, name):
    kwargs = {"lcpo_exact": {"budget": 4}, "lcpo_max": {"budget": 4, "alpha": 0.05}, "laser": {"target": 7},
              "truncation": {"limits": [7]}, "dual": {"budget": 7, "start": 0.1},
              "effort": {"effort": 0.8}}.get(name, {})  # fmt: skip
    trainer = make_trainer(tiny_arithmetic, tmp_path, objective=name, objective_kwargs=kwargs, **ALWAYS)
    two_lengths(trainer)  # what has a history compares with it the second time
    rewards = two_lengths(trainer)
    assert (rewards[:, 0] > rewards[:, 1]).all() or name in ("accuracy", "maxrl")
    if name in ("hapo", "laser_d"):
        assert any(trainer.objective.state_dict().values())


def test_lcpo_judges_the_budget_of_each_prompt_itself(with_ladder, tmp_path):
    trainer = make_trainer(
        with_ladder, tmp_path, budgets=[8], objective="lcpo_exact", objective_kwargs={"alpha": 0.1}, **ALWAYS
    )
    rewards = two_lengths(trainer)  # 2 and 6 tokens of thinking where 8 were asked for; an overrun is not wrong
    torch.testing.assert_close(rewards[0], torch.tensor([0.4, 0.8, 0.4, 0.8]))


def test_lcpo_knows_no_bound_in_evaluation(with_ladder, tmp_path):
    trainer = make_trainer(with_ladder, tmp_path, budgets=[8], objective="lcpo_exact", per_device_eval_batch_size=8)
    metrics = trainer.evaluate()
    assert metrics["eval_rewards/objective/mean"] == pytest.approx(metrics["eval_timecost/accuracy"])


def test_efforts_of_objective_effort_are_ratios(tiny_arithmetic, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from timecost.effort import add_effort_tokens

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny_arithmetic),
        AutoTokenizer.from_pretrained(tiny_arithmetic),
    )
    add_effort_tokens(model, tokenizer, {"low": 0.5})
    model.save_pretrained(tmp_path / "efforts")
    trainer = make_trainer(
        str(tmp_path / "efforts"),
        tmp_path,
        efforts={"low": 0.5},
        objective="effort",
        processing_class=tokenizer,
        **ALWAYS,
    )
    assert two_lengths(trainer).tolist() == [[0.0] * 4] * 2, "costs 6 and 10: none within half of the mean, 8"


def test_time_can_be_counted_in_flops_and_seconds(tiny_arithmetic, tmp_path):
    from timecost.cost import flop_cost

    (tmp_path / "cost.json").write_text('{"unit": "seconds", "a": 1, "b": 0, "c": 0.5, "d": 0}')
    for cost_model, price, expected in (("flops", "1e-7/flop", None), (str(tmp_path / "cost.json"), "0.1/s", 0.2)):
        trainer = make_trainer(
            tiny_arithmetic,
            tmp_path,
            objective="linear",
            objective_kwargs={"price": price},
            cost_model=cost_model,
            **ALWAYS,
        )
        rewards = two_lengths(trainer)
        if expected is None:
            prompt = len(trainer.processing_class(ROWS[0]["prompt"])["input_ids"])
            flops = flop_cost(trainer.model.config)
            expected = 1e-7 * (flops(prompt, 6, 3) - flops(prompt, 2, 3))
        assert (rewards[0, 0] - rewards[0, 1]).item() == pytest.approx(expected, rel=1e-4)


def test_the_price_is_moved_by_its_control(tiny_arithmetic, tmp_path):
    trainer = make_trainer(
        tiny_arithmetic, tmp_path, price_schedule="warmup", price_warmup_steps=2, time_elasticity=0.2, **ALWAYS
    )
    gaps = [(rewards[0, 0] - rewards[0, 1]).item() for rewards in (two_lengths(trainer) for _ in range(3))]
    assert gaps[0] == 0 and gaps[1] > 0 and gaps[2] == pytest.approx(2 * gaps[1], rel=1e-4)
    assert trainer._metrics["train"]["timecost/price_factor"] == [0.0, 0.5, 1.0]


def test_the_guard_sees_the_entropy_whatever_the_log_keeps(tiny_arithmetic, tmp_path):
    trainer = make_trainer(tiny_arithmetic, tmp_path, collapse_guard=True, logging_steps=1, max_steps=3)
    trainer.train()
    assert trainer.price_control.state_dict()["entropy"] == pytest.approx(logged(trainer, "entropy")[-1], abs=1e-3)


def test_a_warmup_counts_optimizer_steps_however_many_batches_of_roll_outs_they_have(tmp_path):
    for accumulation, per_generation, num_iterations, batches in ((4, 4, 1, 6), (4, 1, 1, 24), (4, 4, 2, 3)):
        args = TimeCostConfig(
            output_dir=str(tmp_path), bf16=False, price_schedule="warmup", price_warmup_steps=6,
            num_iterations=num_iterations, gradient_accumulation_steps=accumulation,
            steps_per_generation=per_generation,
        )  # fmt: skip
        assert args.price_control().warmup_steps == batches


def test_data_is_looked_at_when_training_begins(tiny_arithmetic, tmp_path):
    trainer = make_trainer(tiny_arithmetic, tmp_path)
    trainer.train_dataset = trainer.train_dataset.rename_column("prompt", "question")
    trainer.evaluate()
    with pytest.raises(UserError, match="no column prompt"):
        trainer.train()


def test_a_value_head_sees_some_of_the_roll_outs_and_is_logged(tiny_arithmetic, tmp_path):
    from timecost.value.joint import JointValueHead
    from timecost.value.steps import StepRule

    trainer = make_trainer(tiny_arithmetic, tmp_path)
    joint = JointValueHead(trainer.processing_class, StepRule(every=4), 5, [2], 12, share=0.25)
    trainer.joint_value = joint
    trainer.train()
    assert len(joint.kept) == 2 and len(joint.kept[0].problem) == 2
    assert logged(trainer, "timecost/value/probes")[0] >= 2 and 0 <= logged(trainer, "timecost/value/error_end")[0] <= 1


def test_with_a_value_baseline_each_token_has_an_advantage_of_its_own(tiny_arithmetic, tmp_path):
    from timecost.value.baseline import PrefixBaseline
    from timecost.value.joint import JointValueHead
    from timecost.value.steps import StepRule

    trainer = make_trainer(tiny_arithmetic, tmp_path, max_steps=4, gradient_accumulation_steps=2)
    trainer.joint_value = JointValueHead(
        trainer.processing_class, StepRule(every=2), 5, [2], 12, share=0.5, baseline=PrefixBaseline()
    )
    shapes, compute = [], trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: shapes.append(inputs["advantages"].dim()) or compute(model, inputs)
    trainer.train()
    assert shapes == [1, 1, 2, 2, 2, 2, 2, 2], "the first step has no head yet; micro-batches are dealt by length after"
    assert len(logged(trainer, "timecost/value/advantage_left")) == 3
    assert trainer.joint_value.head.config.peek is False and trainer.joint_value.finish().config.peek


def test_a_processing_class_belongs_to_the_reward_that_it_was_given_for(tiny_arithmetic, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_arithmetic)
    reward = AutoModelForSequenceClassification.from_pretrained(tiny_arithmetic, num_labels=1)
    trainer = make_trainer(
        tiny_arithmetic, tmp_path, reward_funcs=reward, reward_processing_classes=tokenizer, max_steps=1
    )
    assert trainer.reward_processing_classes == [None, tokenizer]
    trainer.train()
    assert trainer.state.global_step == 1


def test_padding_to_a_multiple_is_kept(tiny_arithmetic, tmp_path):
    trainer = make_trainer(
        tiny_arithmetic, tmp_path, pad_to_multiple_of=32, per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
    )  # fmt: skip
    inputs = trainer._prepare_inputs([dict(row) for row in ROWS.select([0] * 4 + [1] * 4)])
    assert inputs["completion_ids"].shape[1] == 32


def test_a_problem_is_the_same_whatever_budget_it_is_asked_under(with_ladder, tmp_path):
    trainer = budget_trainer(with_ladder, tmp_path, objective="hapo", budget_inf_share=0.5)
    for _ in range(8):
        roll_out(trainer)
        trainer.state.global_step += 1
    assert 0 < len(trainer.objective.function.shortest) <= 2, "two problems, asked under several budgets"


def test_overshoot_is_told_of_bounded_groups_alone(with_ladder, tmp_path):
    trainer = budget_trainer(with_ladder, tmp_path, budget_inf_share=1.0)
    roll_out(trainer)
    assert "timecost/overshoot" not in trainer._metrics["train"]


def test_engines_that_do_not_know_a_bmojo_are_refused_in_one_line(tiny_arithmetic, tmp_path):
    from bmojo_models import tiny

    for engine in ("use_vllm", "use_transformers_continuous_batching"):
        args = TimeCostConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, report_to="none", **{engine: True})
        with pytest.raises(UserError, match="known neither to vLLM nor to continuous batching") as error:
            TimeCostTrainer(tiny(), args, verifier=odd_length)
        assert "\n" not in str(error.value)
