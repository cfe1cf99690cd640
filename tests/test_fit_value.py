"""`timecost fit-value`, `calibrate-value` and `generate --budget auto`, end to end on an untrained model."""

import json
import shutil

import pytest
import torch

from timecost import calibrate_value, fit_value, generate
from timecost.errors import UserError

QUESTION = "a7b-3=<think>"


SMALL = ["--num_problems", "20", "--num_samples", "1", "--max_thinking_tokens", "12", "--num_epochs", "2"]


@pytest.fixture(scope="module")
def folder(tiny_arithmetic, tmp_path_factory) -> str:
    """A copy of the tiny model with a head beside it, that never sees more than 12 tokens of thinking."""
    folder = shutil.copytree(tiny_arithmetic, tmp_path_factory.mktemp("value") / "model")
    fit_value.run(["--model_name_or_path", str(folder), "--task", "arithmetic", *SMALL])
    return str(folder)


def calibrate(folder, *options):
    calibrate_value.run(["--model_name_or_path", folder, "--task", "arithmetic", "--num_problems", "30", *options])


def test_the_head_lies_beside_the_model_with_the_rule_of_its_task(folder):
    config = json.loads((generate.Path(folder) / "value_head.json").read_text())
    assert (config["task"], config["hidden_size"], config["max_thinking_tokens"]) == ("arithmetic", 32, 12)
    assert config["step_rule"]["offset"] == 1 and config["calibration"] is None


def test_a_head_of_few_probes_is_not_told_for_how_long_the_answer_has_been_the_same(folder, tmp_path):
    command = ["--model_name_or_path", folder, "--task", "arithmetic", "--output_dir", str(tmp_path), *SMALL]
    fit_value.run([*command, "--max_probes", "1"])
    every, few = (json.loads((generate.Path(at) / "value_head.json").read_text()) for at in (folder, tmp_path))
    assert every["agreed"] and few["peek"] and not few["agreed"]


def test_a_model_that_is_never_right_has_nothing_to_guarantee(folder):
    with pytest.raises(UserError, match="full thinking is right on 0.1 % of 30 problems"):
        calibrate(folder)


def test_calibration_finds_a_price_or_none_on_problems_that_are_new_to_the_head(tmp_path, capsys):
    from timecost.tasks import resolve_model

    folder = str(shutil.copytree(resolve_model("arithmetic_base"), tmp_path / "model"))
    model = ["--model_name_or_path", folder, "--task", "arithmetic"]
    fit_value.run([*model, "--num_problems", "40", "--num_samples", "1", "--no_peek"])
    calibrate(folder)
    assert "the head will never stop" in capsys.readouterr().out, "30 problems are too few"
    assert json.loads((tmp_path / "model" / "value_head.json").read_text())["calibration"]["price"] is None
    ask = ["--model_name_or_path", folder, "--budget", "auto", "--price", "0.1", "--json", QUESTION]
    generate.run(ask)
    out, err = capsys.readouterr()
    assert "no price safe: the head does not stop" in err and json.loads(out)["stop_cause"] == "natural"
    calibrate(folder, "--loss", "0.4")
    said = capsys.readouterr().out
    assert "right on" in said and "at most 0.4 of accuracy lost on arithmetic with confidence 0.9" in said
    with pytest.raises(UserError, match="split train: calibrate on problems new to it"):
        calibrate(folder, "--split", "train")


def with_calibration(folder, price):
    path = generate.Path(folder) / "value_head.json"
    kept = {"task": "arithmetic", "price": price, "loss": 0.01, "delta": 0.1, "num_problems": 400, "num_harms": 1}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"calibration": kept}))


def test_generation_clips_to_the_calibrated_price(folder, capsys):
    from timecost.generation import generate as generate_replies
    from timecost.loading import load_model_to_use
    from timecost.value.head import load_value_head
    from timecost.value.stopping import StopRule

    with_calibration(folder, 0.1)
    model, tokenizer = load_model_to_use(folder)
    head = load_value_head(model, folder)
    with pytest.warns(UserWarning, match="held at the calibrated 0.1 per thinking token"):
        (reply,) = generate_replies(
            model, tokenizer, [QUESTION], [None], value_head=head, stop_rule=StopRule(5.0), max_answer_tokens=4
        )
    rule = {"value_head": head, "stop_rule": StopRule(0.0, highest=-1.0), "clip": False, "max_answer_tokens": 4}
    known = generate_replies(model, tokenizer, [QUESTION] * 8, [None] * 8, **rule)
    more = generate_replies(model, tokenizer, [QUESTION] * 8, [None] * 8, max_thinking_tokens=40, **rule)
    assert max(reply.thinking_tokens for reply in known) == 12 < max(reply.thinking_tokens for reply in more)
    assert {reply.looks for reply in known} == {0}, "what never stops need not look"
    ask = ["--model_name_or_path", folder, "--max_answer_tokens", "4", "--budget", "auto", "--price", "5", QUESTION]
    generate.run([*ask, "--task", "gsm8k"])
    said = capsys.readouterr().err
    assert "held at the calibrated 0.1 per thinking token" in said and "calibrated on arithmetic, not on gsm8k" in said
    generate.run([*ask, "--no_clip", "--least_value", "1", "--json"])
    assert json.loads(capsys.readouterr().out)["stop_cause"] == "declined"


def test_problems_that_nothing_solves_lower_the_forecast_of_their_kind(tmp_path, capsys):
    from timecost.loading import load_model_to_use
    from timecost.value.head import load_value_head
    from timecost.value.novelty import question_features

    rows = [{"prompt": f"a{i % 10}b?{i // 10}=<think>"} for i in range(60)]
    (tmp_path / "unsolvable.jsonl").write_text("\n".join(map(json.dumps, rows)))
    small = ["--num_problems", "60", "--num_samples", "1", "--max_thinking_tokens", "12", "--num_epochs", "60"]
    fit_value.run(["--model_name_or_path", "arithmetic_base", "--task", "arithmetic", "--output_dir", str(tmp_path),
                   "--unsolvable_path", str(tmp_path / "unsolvable.jsonl"), "--no_peek", *small])  # fmt: skip
    assert "120 thoughts on 120 problems" in capsys.readouterr().out
    model, tokenizer = load_model_to_use("arithmetic_base")
    head = load_value_head(model, tmp_path)

    @torch.no_grad()
    def start(prompt):
        ids = tokenizer(prompt)["input_ids"]
        state = model.base_model(torch.tensor([ids])).last_hidden_state[:, -1]
        p_value = head.novelty.p_value(question_features(model, [ids]))
        return float(head(state, torch.tensor([0])).value[0, -1]), float(p_value)

    usual, told = start("a7b-3=<think>"), start("a7b?3=<think>")
    assert told[0] < 0.5 * usual[0]
    assert told[1] < 0.2 <= usual[1], "what is usual is fitted to solvable problems alone"


def test_sampled_answers_where_a_task_has_no_exact_ones(folder, tiny_arithmetic):
    from dataclasses import replace

    from timecost.loading import load_model_to_use
    from timecost.probing import load_rows, probe_problems
    from timecost.tasks import get_task

    task = replace(get_task("arithmetic"), exact_answer=False)
    model, tokenizer = load_model_to_use(tiny_arithmetic)
    problems = [*load_rows(task, tokenizer, "train", 3, 0), {"prompt": "a7b?3=<think>", "answer": None}]
    traces = probe_problems(
        model, tokenizer, task, problems, num_samples=2, num_probe_samples=2, max_probes=2, max_thinking_tokens=8,
        max_answer_tokens=4,
    )  # fmt: skip
    assert (
        traces.problem.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        and traces.end_value[-2:].tolist() == [0, 0]
        and not torch.isnan(traces.end_value).any()
    )
    assert set(traces.value[~torch.isnan(traces.value)].tolist()) <= {0.0, 0.5, 1.0}
    assert (traces.num_thinking <= 8).all()


@pytest.mark.parametrize("options", [[], ["--decline_novel", "0.3"]])
def test_a_strange_question_is_declined_where_that_is_asked_for(folder, capsys, options):
    ask = ["--model_name_or_path", folder, "--max_answer_tokens", "4", "--budget", "auto", "--price", "0", "--no_clip"]
    generate.run([*ask, "--json", *options, "a7b?3c?4d?1=<think>"])
    assert (json.loads(capsys.readouterr().out)["stop_cause"] == "declined") == bool(options)


def test_a_price_per_flop_and_what_a_reply_cost_in_flops(folder, capsys):
    ask = ["--model_name_or_path", folder, "--max_answer_tokens", "4", "--budget", "auto", "--cost_model", "flops"]
    generate.run([*ask, "--price", "1e-3/flop", "--no_clip", "--least_value", "1", "--json", QUESTION])
    reply = json.loads(capsys.readouterr().out)
    assert reply["unit"] == "flops" and reply["cost"] > 1e5 and reply["stop_cause"] == "declined"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--budget auto needs --price"),
        (["--price", "0.1/mile"], "is not a quantity, such as '0.1/token'"),
        (["--price", "0.1/second"], "in seconds, but the cost model counts tokens"),
        (["--price", "1e-9", "--cost_model", "flops"], "in tokens, but the cost model counts flops"),
        (["--price", "-1"], "must be a number from 0 on"),
        (["--price", "0.1", "--value_head", "nowhere"], "holds no value head"),
    ],
)
def test_wrong_questions_are_one_line(folder, options, message):
    with pytest.raises(UserError, match=message):
        generate.run(["--model_name_or_path", folder, "--budget", "auto", QUESTION, *options])


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (fit_value, ["--num_problems", "0"], "num_problems must be at least 1"),
        (fit_value, ["--split", "tests"], "no split 'tests'"),
        (calibrate_value, ["--delta", "2"], "delta must lie between 0 and 1"),
        (calibrate_value, [], "fit one with `timecost fit-value"),
    ],
)
def test_wrong_options_are_one_line(tiny_arithmetic, command, options, message):
    with pytest.raises(UserError, match=message):
        command.run(["--model_name_or_path", tiny_arithmetic, "--task", "arithmetic", *options])
