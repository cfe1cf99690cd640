"""A task from a YAML file: what it holds, and one line for each thing that can be wrong with it."""

import json
import pickle

import pytest

from timecost.errors import UserError
from timecost.tasks import get_task
from timecost.tasks.from_yaml import fill
from timecost.tasks.validate import validate

SPEC = {
    "name": "capitals",
    "splits": {"test": "capitals.jsonl"},
    "prompt": "What is the capital of {country}?",
    "answer": "{capital}",
    "verifier": "exact",
    "solution": "It is well known. #### {capital}",
}


@pytest.fixture
def write(tmp_path):
    """`write(**changes)` writes the task with changed fields (None removes one) and returns its path."""

    def write(**changes):
        rows = [{"country": "France", "capital": "Paris"}, {"country": "Peru", "capital": "Lima"}]
        (tmp_path / "capitals.jsonl").write_text("\n".join(map(json.dumps, rows)))
        path = tmp_path / "capitals.yaml"
        path.write_text(json.dumps({k: v for k, v in {**SPEC, **changes}.items() if v is not None}))  # JSON is YAML
        return str(path)

    return write


def test_a_task_loads_verifies_and_pickles(write):
    task = pickle.loads(pickle.dumps(get_task(write())))
    assert (task.name, task.splits, task.max_completion_length) == ("capitals", ("test",), 512)
    assert validate(task, "test") == (2, [])
    verdicts = task.verify(["France ...</think> paris", "Paris</think>Lima"], ["Paris", "Paris"])
    assert [verdict.status for verdict in verdicts] == ["correct", "incorrect"]
    rows = task.load("test", conversational=False)
    assert rows["prompt"][0] == "What is the capital of France?" and rows["answer"][1] == "Lima"
    assert task.load("test", 1)["prompt"][0][0]["role"] == "user"


def test_the_token_that_ends_thinking_is_the_tasks_own(write):
    task = get_task(write(think_end="<end>"))
    assert [v.status for v in task.verify(["Rome<end>Lima", "Rome</think>Lima"], ["Lima"] * 2)] == [
        "correct", "incorrect",
    ]  # fmt: skip
    math = get_task(write(think_end="[/THINK]", verifier="math"))
    replies = ["[THINK]1+1[/THINK]#### 2", "[THINK]1+1\n#### 2"]
    assert [v.status for v in math.verify(replies, ["2"] * 2)] == ["correct", "incorrect"]
    exact = get_task(write(think_end="[/THINK]"))
    assert [v.status for v in exact.verify(["[THINK]Lima"], ["Lima"])] == ["incorrect"], "thinking never closed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": None}, "the field 'answer' is missing"),
        ({"anser": "x"}, "unknown field 'anser', did you mean 'answer'"),
        ({"verifier": "exat"}, "unknown verifier 'exat', did you mean 'exact'"),
        ({"verifier": "no_such_module:f"}, "cannot import the verifier"),
        ({"splits": "capitals.jsonl"}, "splits must map names to files"),
        ({"max_completion_length": 0}, "must be a number of tokens, not 0"),
        ({"prompt": 3}, "prompt must be text, not 3"),
    ],
)
def test_a_wrong_file_is_one_line(write, changes, message):
    with pytest.raises(UserError, match=message) as error:
        get_task(write(**changes))
    assert "\n" not in str(error.value)


def test_exact_compares_what_stands_behind_the_thinking(write):
    verify = get_task(write()).verify
    said = ["<think>hm</think>\n LIMA\n", "#### Lima", "<think>So #### Lima", "Lima.", "<think>Lima</think>"]
    assert [verdict.status == "correct" for verdict in verify(said, ["Lima"] * 5)] == [True, True, False, False, False]


def test_wrong_data_is_one_line(write):
    with pytest.raises(UserError, match="row 1: no contry, did you mean 'country'"):
        list(get_task(write(prompt="{contry}")).solutions("test"))
    with pytest.raises(UserError, match="does not exist: splits name files"):
        list(get_task(write(splits={"test": "other.jsonl"})).solutions("test"))
    with pytest.raises(UserError, match="no split 'train'"):
        get_task(write()).load("train")
    with pytest.raises(UserError, match="cannot be read"):
        get_task("nowhere.yaml")


def test_fill_leaves_other_braces():
    assert fill(r"\boxed{} {n}", {"n": 0}, "row 1") == r"\boxed{} 0"
