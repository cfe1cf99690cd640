"""HumanEval, HumanEval+, MBPP, MBPP+: what their rows become, gold solutions, and mutants of them."""

import ast
import random

import pytest

from timecost.errors import UserError
from timecost.tasks import get_task, programs
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
    monkeypatch.setenv("TIMECOST_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match="does not exist.*evalplus"):
        task.load("test")
    with pytest.raises(UserError, match="has no split"):
        task.load("train")


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_without_a_folder_rows_come_from_the_hub(name, data_dir, monkeypatch):
    import datasets

    local = get_task(name).load("test").to_list()
    rows = programs._read(data_dir / {"humaneval": "humaneval/HumanEval.jsonl.gz",
                                      "mbpp": "mbpp/sanitized-mbpp.json"}[name], "")  # fmt: skip
    asked = []
    table = type("Table", (), {"to_list": lambda self: rows})()
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: asked.append((args, kwargs)) or table)
    monkeypatch.delenv("TIMECOST_DATA_DIR")
    programs._fetch.cache_clear()
    assert get_task(name).load("test").to_list() == local
    ((hub, _), _) = asked[0]
    assert hub == {"humaneval": "openai/openai_humaneval", "mbpp": "google-research-datasets/mbpp"}[name]


def test_without_a_folder_evalplus_is_the_file_of_its_release(data_dir, tmp_path, monkeypatch):
    import datasets

    files = [data_dir / "mbpp_plus/MbppPlus.jsonl.gz", tmp_path / "another"]
    files[1].write_bytes(b"{}")
    monkeypatch.setattr(datasets.DownloadManager, "download", lambda self, url: str(files[0]))
    monkeypatch.delenv("TIMECOST_DATA_DIR")
    programs._fetch.cache_clear()
    assert len(get_task("mbpp_plus").load("test")) == 378
    programs._fetch.cache_clear()
    files.pop(0)
    with pytest.raises(UserError, match="holds another file than it should"):
        get_task("mbpp_plus").load("test")


@pytest.mark.parametrize("name", ["humaneval", "humaneval_plus", "mbpp", "mbpp_plus"])
def test_without_a_folder_and_a_connection_there_is_one_line(name, monkeypatch):
    monkeypatch.delenv("TIMECOST_DATA_DIR", raising=False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    programs._fetch.cache_clear()
    with pytest.raises(UserError, match=f"cannot load .*: connect, or set TIMECOST_DATA_DIR .* holds {name}/") as error:
        get_task(name).load("test")
    assert "\n" not in str(error.value)
