"""A head fitted beside the policy learns from the roll-outs of each step, and leaves the policy alone."""

import pytest
import torch

from timecost.tasks import arithmetic
from timecost.value.head import ValueHead
from timecost.value.joint import JointValueHead
from timecost.value.steps import step_rule

THINK_END, EOS = 5, 2


@pytest.fixture(scope="module")
def loaded():
    from timecost.loading import load_model_to_use

    return load_model_to_use("arithmetic_base")


def roll_outs(tokenizer, seed: int):
    """Steps written out, half of them closed before the last one, so that they cannot be right in the end."""
    problems = arithmetic.problems("train", 24, seed)
    completions = []
    for i, problem in enumerate(problems):
        steps = arithmetic.write_pass(problem, problem.values, "steps")
        text = "".join(steps if i % 2 else steps[:-1]) + "</think>" + problem.answer
        completions.append([*tokenizer(text, add_special_tokens=False)["input_ids"], EOS])
    return [tokenizer(p.prompt)["input_ids"] for p in problems], completions, [p.answer for p in problems]


def test_it_learns_from_what_it_sees_and_the_policy_does_not_feel_it(loaded):
    model, tokenizer = loaded
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    joint = JointValueHead(
        tokenizer, step_rule(tokenizer, ("=", 1)), THINK_END, [EOS], 96, share=0.5, num_kept=3, num_updates=8
    )
    model.train()
    measures = [joint.observe(model, *roll_outs(tokenizer, seed)) for seed in range(10)]
    assert model.training and len(joint.kept) == 3
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    first, last = (sum(m["value/error_now"] for m in measures[part]) for part in (slice(3), slice(-3, None)))
    assert last < 0.6 * first
    assert measures[0]["value/probes"] > 12
    head = joint.finish()
    assert isinstance(head, ValueHead) and head.config.peek and head.config.step_rule.offset == 1
