"""The tasks of mathematics beside GSM8K. Their gold solutions: tests/test_validate.py."""

import json
import pickle

import pytest

from timecost.errors import UserError
from timecost.tasks import get_task, math_train

ROWS = {
    "math500": ("math500/test.jsonl", {"problem": "1 + 1?", "solution": "\\boxed{2}", "answer": "2", "level": 3}),
    "svamp": (
        "svamp/SVAMP.json",
        [{"Body": "A has 1.", "Question": "And 1 more?", "Equation": "( 1.0 + 1.0 )", "Answer": 2.0}],
    ),
    "multiarith": ("mawps/multiarith.jsonl", {"input": "1 + 1?", "target": 2}),
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    def write(name, **changes):
        monkeypatch.setenv("TIMECOST_DATA_DIR", str(tmp_path))
        file, rows = ROWS[name]
        (tmp_path / file).parent.mkdir()
        rows = [rows[0] | changes] if isinstance(rows, list) else rows | changes
        (tmp_path / file).write_text(json.dumps(rows) + "\n")
        return get_task(name)

    return write


@pytest.mark.parametrize(("name", "difficulty"), [("math500", 3), ("svamp", 1), ("multiarith", None)])
def test_a_row(write, name, difficulty):
    task = write(name)
    (row,) = task.load("test")
    assert row["answer"] == "2"
    assert row.get("difficulty") == difficulty
    assert row["prompt"][0]["role"] == "user"
    (row,) = task.load("test", num_problems=1, conversational=False)
    assert row["prompt"].startswith("Solve the problem.") and row["prompt"].endswith("Solution:")


@pytest.mark.parametrize("name", ROWS)
def test_a_split_or_a_number_that_there_is_not(write, name):
    task = write(name)
    with pytest.raises(UserError, match=f"{name} has no split 'train': one of test"):
        task.load("train")
    with pytest.raises(UserError, match=f"{name} test has 1 problems"):
        task.load("test", num_problems=2)


@pytest.mark.parametrize("name", ROWS)
def test_the_reward_of_a_completion(name):
    reward = pickle.loads(pickle.dumps(get_task(name).reward))
    mark = "\\boxed{%s}" if name == "math500" else "#### %s"
    assert reward(completions=[mark % 18, mark % 19], answer=["18", "18"]) == [1.0, 0.0]


def test_a_percent_sign_may_stand_where_the_answers_of_math_leave_it_out():
    assert get_task("math500").verify(["\\boxed{20\\%}"], ["20"])[0].status == "correct"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("svamp", {"Answer": "many"}, "the answer is 'many'"),
        ("math500", {"level": "hard"}, "the level is 'hard'"),
    ],
)
def test_a_bad_row_is_one_line_that_names_it(write, name, changes, message):
    with pytest.raises(UserError, match=message):
        write(name, **changes).load("test")


@pytest.fixture
def math_rows(tmp_path, monkeypatch):
    """A file of math_train: 60 problems, two of them without an answer."""
    monkeypatch.setenv("TIMECOST_DATA_DIR", str(tmp_path))
    rows = [{"problem": f"{i} + 1?", "answer": f"{i + 1}", "difficulty": 2.0, "type": "Algebra"} for i in range(60)]
    rows[0]["answer"], rows[1]["answer"], rows[2]["difficulty"] = "", None, 0.0
    (tmp_path / "math_train").mkdir()
    (tmp_path / "math_train" / "train.json").write_text(json.dumps(rows))
    return rows


def test_math_train_is_split_and_leaves_out_what_has_no_answer(math_rows):
    task = get_task("math_train")
    train, validation = task.load("train"), task.load("validation", conversational=False)
    assert len(train) + len(validation) == 58 and 0 < len(validation) < 10
    levels = [*train["difficulty"], *validation["difficulty"]]
    assert (levels.count(2), levels.count(None)) == (57, 1)
    assert "\\boxed{}" in train[0]["prompt"][0]["content"] and validation[0]["prompt"].endswith("Solution:")
    with pytest.raises(UserError, match="has no split 'test': one of train, validation"):
        task.load("test")
    gold = next(iter(task.solutions("train")))
    assert task.verify([gold.completion, "\\boxed{-5}"], [gold.answer] * 2)[0].status == "correct"


def test_math_train_from_the_hub_reads_answers_off_the_solutions(monkeypatch):
    import datasets

    solutions = ["So $\\boxed{1}$, no: $\\boxed{\\frac{1}{2}}$.", "\\fbox{7}", "no box", "\\boxed{\\{1\\}}"]
    rows = [{"problem": f"{i}?", "level": f"Level {i + 1}", "solution": s} for i, s in enumerate(solutions)]
    table = type("Table", (), {"to_list": lambda self: rows})()
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: table)
    monkeypatch.delenv("TIMECOST_DATA_DIR", raising=False)
    found = {}
    for split in ("train", "validation"):
        found |= {row["question"]: (row["answer"], row["difficulty"]) for row in math_train.problems(split)}
    assert found == {"0?": ("\\frac{1}{2}", 1), "1?": ("7", 2), "3?": ("\\{1\\}", 4)}
