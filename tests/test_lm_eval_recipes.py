"""The task files for lm-evaluation-harness ask what our tasks ask. The harness itself is not needed here."""

import json
import re
from pathlib import Path

import pytest
import yaml

from timecost.budget import with_budget
from timecost.tasks import get_task

FOLDER = Path(__file__).parents[1] / "recipes" / "lm_eval"
TASKS = {"gsm8k": "gsm8k/test.jsonl", "math500": "math500/test.jsonl"}


def read(path: Path) -> dict:
    """A task file with what it includes; a function is left as its name."""
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda loader, node: node.value)
    own = yaml.load(path.read_text(), loader)
    return (read(FOLDER / own.pop("include")) if "include" in own else {}) | own


def files(task: str) -> list[Path]:
    return sorted(path for path in FOLDER.glob(f"timecost_{task}_*.yaml"))


@pytest.mark.parametrize("task", TASKS)
def test_a_group_names_every_budget(task):
    group = read(FOLDER / f"timecost_{task}.yaml")
    assert sorted(group["task"]) == sorted(read(path)["task"] for path in files(task)) == [p.stem for p in files(task)]
    assert f"timecost_{task}_inf" in group["task"] and len(group["task"]) > 3


@pytest.mark.parametrize("task", TASKS)
def test_the_prompts_are_those_of_our_tasks(task, data_dir):
    from jinja2 import Environment

    rows = [json.loads(line) for line in (data_dir / TASKS[task]).read_text().splitlines()[:20]]
    problems = get_task(task).load("test").select(range(20))
    for path in files(task):
        recipe, budget = read(path), re.search(r"_(\w+)$", path.stem)[1].rpartition("_")[2]
        template = Environment().from_string(recipe["doc_to_text"])
        for row, problem in zip(rows, problems, strict=True):
            prompt = problem["prompt"] if budget == "inf" else with_budget(problem["prompt"], int(budget))
            assert template.render(**row) == prompt[-1]["content"]


@pytest.mark.parametrize("task", TASKS)
def test_lengths_and_answers_are_those_of_our_tasks(task, data_dir):
    from jinja2 import Environment

    recipe = read(files(task)[0])
    assert recipe["generation_kwargs"]["max_gen_toks"] == get_task(task).max_completion_length
    row = json.loads((data_dir / TASKS[task]).read_text().splitlines()[0])
    target = Environment().from_string(recipe["doc_to_target"]).render(**row)
    assert target == get_task(task).load("test")[0]["answer"]
