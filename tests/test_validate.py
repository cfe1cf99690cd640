"""`timecost validate`: gold solutions must score 1.0."""

from dataclasses import replace

import pytest

from timecost.errors import UserError
from timecost.tasks import Solution, arithmetic, validate
from timecost.verifiers import Verdict


def test_every_gold_solution_of_gsm8k_scores_1(data_dir, capsys):
    validate.run(["--task", "gsm8k"])
    counts = [int(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert sum(counts[:2]) == 7473
    assert counts[2] == 1319


@pytest.mark.parametrize(("task", "count"), [("math500", 500), ("svamp", 1000), ("multiarith", 600)])
def test_every_gold_solution_of_the_other_datasets_scores_1(data_dir, capsys, task, count):
    validate.run(["--task", task])
    assert capsys.readouterr().out.split() == ["test", str(count), "of", str(count), "score", "1.0"]


def test_every_answer_of_math_train_scores_1(data_dir, capsys):
    validate.run(["--task", "math_train"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines] == [["train", "6927"], ["validation", "543"]]


def test_every_gold_solution_of_arithmetic_scores_1(capsys):
    validate.run(["--task", "arithmetic"])
    assert capsys.readouterr().out.splitlines()[-1].endswith(" 5000 of 5000 score 1.0")


def test_exceptions_are_listed_and_the_exit_code_is_1(monkeypatch, capsys):
    def solutions(split):
        return [Solution("row 1", "</think>8", "8"), Solution("row 2", "</think>8", "9"), Solution("row 3", "", "?")]

    def verify(completions, answers):
        errors = {"?": Verdict.verifier_error("not\na number")}
        verdicts = arithmetic.ARITHMETIC.verify(completions, answers)
        return [errors.get(answer, verdict) for answer, verdict in zip(answers, verdicts, strict=True)]

    task = replace(arithmetic.ARITHMETIC, splits=("test",), solutions=solutions, verify=verify)
    monkeypatch.setattr(validate, "get_task", lambda name: task)
    with pytest.raises(SystemExit) as stop:
        validate.run(["--task", "arithmetic"])
    assert stop.value.code == 1
    out, err = capsys.readouterr()
    count, *exceptions = out.splitlines()
    assert count.split() == ["test", "1", "of", "3", "score", "1.0"]
    assert exceptions == ["  row 2: incorrect, answered '8', not '9'", "  row 3: verifier_error, not a number"]
    assert "2 gold solutions of arithmetic do not score 1.0" in err


def test_a_task_without_solutions_says_so(monkeypatch):
    monkeypatch.setattr(arithmetic, "ARITHMETIC", replace(arithmetic.ARITHMETIC, solutions=None))
    with pytest.raises(UserError, match="Task.solutions"):
        validate.run(["--task", "arithmetic"])
