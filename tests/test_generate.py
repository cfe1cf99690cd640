"""`timecost generate`: a question on the command line, and a file of them."""

import json

import pytest

from timecost.errors import UserError
from timecost.generate import run

QUESTION = "a7b-3=<think>"


@pytest.fixture
def model(tiny_arithmetic):
    return ["--model_name_or_path", tiny_arithmetic, "--max_answer_tokens", "4", "--no_condition"]


def test_a_reply_is_streamed_and_its_use_told(model, capsys):
    run([*model, "--budget", "8", QUESTION])
    said = capsys.readouterr()
    assert said.out.strip() and "thinking tokens of 8" in said.err and "stopped: " in said.err


def test_a_reply_as_json(model, capsys):
    run([*model, "--thinking_budget", "8", "--json", QUESTION])
    reply = json.loads(capsys.readouterr().out)
    assert reply["budget"] == 8 and reply["thinking_tokens"] <= 8 and reply["cost"] > 1


def test_a_file_of_questions_keeps_its_columns_and_own_budgets(model, tmp_path, capsys):
    rows = [{"id": 1, "prompt": QUESTION}, {"id": 2, "prompt": QUESTION, "budget": 0}, {"id": 3, "prompt": QUESTION}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    paths = ["--input_path", str(tmp_path / "in.jsonl"), "--output_path", str(tmp_path / "out.jsonl")]
    run([*model, "--budget", "6", "--batch_size", "2", *paths])
    replies = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(reply["id"], reply["budget"]) for reply in replies] == [(1, 6), (2, 0), (3, 6)]
    assert all(reply["thinking_tokens"] <= reply["budget"] for reply in replies)


def test_an_effort_and_beams(tiny_arithmetic, tmp_path, capsys):
    from timecost.effort import add_effort_tokens
    from timecost.loading import load_model_to_use

    model, tokenizer = load_model_to_use(tiny_arithmetic)
    add_effort_tokens(model, tokenizer, {"low": 0.2})
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    options = ["--model_name_or_path", str(tmp_path), "--max_answer_tokens", "4", "--no_condition", "--budget", "6"]
    run([*options, "--effort", "low", "--num_beams", "2", "--json", QUESTION])
    assert json.loads(capsys.readouterr().out)["thinking_tokens"] <= 6
    with pytest.raises(UserError, match="high"):
        run([*options, "--effort", "high", QUESTION])


def test_a_question_asked_again_gets_another_reply_in_whatever_batch(model, tmp_path):
    (tmp_path / "in.jsonl").write_text("\n".join([json.dumps({"prompt": QUESTION})] * 8))
    paths = ["--input_path", str(tmp_path / "in.jsonl"), "--output_path", str(tmp_path / "out.jsonl")]
    run([*model, "--budget", "8", "--batch_size", "4", *paths])
    replies = [json.loads(line)["thinking"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert replies[:4] != replies[4:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "either a question or --input_path"),
        ([QUESTION, "--budget", "lots"], "number of thinking tokens"),
        ([QUESTION, "--budget", "auto", "--price", "0.01"], "holds no value head"),
        ([QUESTION, "--budget", "8", "--price", "0.01"], "go with --budget auto"),
        ([QUESTION, "--bugdet", "8"], "did you mean '--budget'"),
        ([QUESTION, "--max_answer_tokens", "0"], "needs a reserve"),
        ([QUESTION, "--effort", "low"], "the model has no effort tokens"),
        (["--input_path", "questions.jsonl"], "go together"),
        (["--input_path", "nowhere.jsonl", "--output_path", "x"], "cannot read nowhere.jsonl"),
    ],
)
def test_wrong_options_are_one_line(tiny_arithmetic, options, message):
    with pytest.raises(UserError, match=message):
        run(["--model_name_or_path", tiny_arithmetic, *options])


def test_a_line_without_a_prompt_is_named(model, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"prompt": "x"}\n{"question": "y"}\n')
    with pytest.raises(UserError, match="in.jsonl, line 2: no prompt"):
        run([*model, "--input_path", str(tmp_path / "in.jsonl"), "--output_path", str(tmp_path / "out.jsonl")])
