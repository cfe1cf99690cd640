"""The registry of tasks, and the arithmetic task's entry in it."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from timecost import tasks
from timecost.errors import UserError
from timecost.tasks import TASKS, Task, get_task, resolve_model
from timecost.tasks.validate import validate

DOCS = Path(__file__).parents[1] / "docs" / "tasks.md"


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_found_by_its_name_and_pickles(name):
    task = get_task(name)
    assert isinstance(task, Task) and task.name == name
    assert pickle.loads(pickle.dumps(task)).reward.__name__ == "accuracy"


def test_getting_a_task_imports_nothing_heavy():
    code = f"""
import sys
from timecost.tasks import get_task
for name in {list(TASKS)}:
    get_task(name)
print([name for name in ("torch", "transformers", "datasets", "sympy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_an_unknown_task_is_told_the_nearest_one():
    with pytest.raises(UserError, match="unknown task 'gsm8', did you mean 'gsm8k'.*arithmetic"):
        get_task("gsm8")


@pytest.mark.parametrize("name", ["no_such_module:TASK", "timecost.tasks:NO_SUCH", "timecost.tasks:TASKS", ":TASK"])
def test_a_name_that_leads_to_no_task(name):
    with pytest.raises(UserError, match=re.escape(name)):
        get_task(name)


def test_the_task_of_ones_own_in_the_docs(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(# my_tasks\.py\n.*?)```", DOCS.read_text(), re.DOTALL)
    (tmp_path / "my_tasks.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    task = get_task("my_tasks:TASK")
    assert [validate(task, split) for split in task.splits] == [(2, []), (1, [])]
    assert task.load("train", num_problems=1, conversational=False)["prompt"] == [
        "What is 6 times 7? End with #### and a number."
    ]


def test_the_embedded_model_is_a_folder_of_the_package(tmp_path, monkeypatch):
    assert resolve_model("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    monkeypatch.setitem(tasks.MODELS, "arithmetic_base", tmp_path)
    with pytest.raises(UserError, match="config.json"):
        resolve_model("arithmetic_base")
    (tmp_path / "config.json").write_text("{}")
    assert resolve_model("arithmetic_base") == str(tmp_path)


# Arithmetic -----------------------------------------------------------------------------------------------------------


def test_arithmetic_loads_its_splits():
    task = get_task("arithmetic")
    validation = task.load("validation")
    assert validation.column_names == ["prompt", "answer", "difficulty"]
    assert len(validation) == 300
    assert len(task.load("test", num_problems=7, seed=1)) == 7
    with pytest.raises(UserError, match="train, validation, test, held_out"):
        task.load("dev")
    with pytest.raises(UserError, match="at least 1"):
        task.load("test", num_problems=0)


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("b7-3=4c4*2=8</think>8", ""),
        ("</think>8", ""),
        ("</think>9", "answered '9', not '8'"),
        ("</think>8?8?8", "answered '8?8?8'"),
        ("b7-3=4c4*2=8", "thinking never closed"),
        ("", "thinking never closed"),
    ],
)
def test_arithmetic_verdicts(completion, reason):
    (verdict,) = get_task("arithmetic").verify([completion], ["8"])
    assert (verdict.score, verdict.status) == ((0.0, "incorrect") if reason else (1.0, "correct"))
    assert reason in verdict.reason


def test_arithmetic_solutions_show_every_style():
    task = get_task("arithmetic")
    styles = set()
    for solution in task.solutions("validation"):
        styles.add(task.style_of(solution.completion))
        assert f"({task.style_of(solution.completion)})" in solution.row
    assert styles == set(task.styles)
