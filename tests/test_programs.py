"""HumanEval, HumanEval+, MBPP, MBPP+: what their rows become, gold solutions, and mutants of them."""

import ast
import random

import pytest

from timecost.errors import UserError
from timecost.tasks import get_task
from timecost.tasks.programs import INSTRUCTION

COUNTS = {
    ("humaneval", "test"): 164, ("humaneval_plus", "test"): 164, ("mbpp_plus", "test"): 378,
    ("mbpp", "train"): 120, ("mbpp", "validation"): 43, ("mbpp", "test"): 257,
}  # fmt: skip
QUICK = {"humaneval": 30, "humaneval_plus": 12, "mbpp": 30, "mbpp_plus": 30}  # gold solutions that are run here


@pytest.mark.parametrize(("name", "split"), COUNTS)
def test_rows(data_dir, name, split):
    task = get_task(name)
    dataset = task.load(split)
    assert len(dataset) == COUNTS[name, split]
    assert dataset.column_names == ["prompt", "answer", "difficulty"]
    assert dataset[0]["prompt"][0]["content"].endswith(INSTRUCTION)
    assert isinstance(task.load(split, num_problems=1, conversational=False)[0]["prompt"], str)


@pytest.mark.parametrize("name", QUICK)
def test_gold_solutions_are_correct_and_their_mutants_are_not(data_dir, name):
    task = get_task(name)
    slow = {f"HumanEval/{i}" for i in (15, 36, 59)}
    golds = [solution for solution in task.solutions("test") if solution.row not in slow]
    golds = random.Random(0).sample(golds, QUICK[name])
    mutants = [(mutate(gold.completion), gold.answer) for gold in golds]
    mutants = [(text, answer) for text, answer in mutants if text]
    verdicts = task.verify(
        [gold.completion for gold in golds] + [text for text, _ in mutants],
        [gold.answer for gold in golds] + [answer for _, answer in mutants],
    )
    assert [verdict.status for verdict in verdicts[: len(golds)]] == ["correct"] * len(golds)
    assert len(mutants) > len(golds) / 2
    assert [verdict.status for verdict in verdicts[len(golds) :]] == ["incorrect"] * len(mutants)


def mutate(text: str) -> str | None:
    """The program with every value that it returns put into a list: never right, always data."""
    body = text if not text.lstrip("\n").startswith((" ", "\t")) else "def f():\n" + text.lstrip("\n")
    try:
        tree = ast.parse(body)
    except SyntaxError:
        return None
    returns = [node for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value is not None]
    if not returns:
        return None
    for node in returns:
        node.value = ast.List([ast.Constant("mutant"), node.value], ast.Load())
    code = ast.unparse(ast.fix_missing_locations(tree))
    return code.partition("\n")[2] + "\n" if body != text else code


def test_an_unknown_problem_is_a_verifier_error(data_dir):
    (verdict,) = get_task("humaneval").verify(["x"], ["HumanEval/999"])
    assert verdict.status == "verifier_error" and "HumanEval/999" in verdict.reason


def test_errors_name_the_file_and_where_it_comes_from(tmp_path, monkeypatch):
    task = get_task("mbpp_plus")
    monkeypatch.delenv("TIMECOST_DATA_DIR", raising=False)
    with pytest.raises(UserError, match="set TIMECOST_DATA_DIR.*MbppPlus.*evalplus"):
        task.load("test")
    monkeypatch.setenv("TIMECOST_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match="does not exist.*evalplus"):
        task.load("test")
    with pytest.raises(UserError, match="has no split"):
        task.load("train")
