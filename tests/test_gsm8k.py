"""GSM8K: its splits, its prompts, its answers."""

import json

import pytest

from timecost.errors import UserError
from timecost.tasks import get_task
from timecost.tasks.gsm8k import INSTRUCTION, answer_of


@pytest.fixture
def gsm8k(data_dir):
    """The task, on the real data."""
    return get_task("gsm8k")


def test_splits_are_disjoint_and_complete(gsm8k):
    questions = {split: set(gsm8k.load(split, conversational=False)["prompt"]) for split in gsm8k.splits}
    assert {split: len(prompts) for split, prompts in questions.items()} == {
        "train": 6958, "validation": 515, "test": 1319,
    }  # fmt: skip
    assert len(questions["train"] | questions["validation"] | questions["test"]) == 7473 + 1319


def test_a_row(gsm8k):
    row = gsm8k.load("test")[0]
    (message,) = row["prompt"]
    assert message["role"] == "user"
    assert message["content"].startswith("Janet’s ducks lay 16 eggs per day.")
    assert message["content"].endswith(INSTRUCTION)
    assert (row["answer"], row["difficulty"]) == ("18", 2)
    prompt = gsm8k.load("test", conversational=False)[0]["prompt"]
    assert "Janet’s ducks lay 16 eggs per day." in prompt and INSTRUCTION in prompt


def test_a_sample_is_a_function_of_the_seed(gsm8k):
    first, again, other = (gsm8k.load("test", num_problems=20, seed=seed)["answer"] for seed in (0, 0, 1))
    assert len(first) == 20
    assert first == again != other


def test_the_reward_of_a_completion(gsm8k):
    completions = [[{"role": "assistant", "content": f"9 * 2 = 18\n#### {answer}"}] for answer in ("18", "19")]
    assert gsm8k.reward(completions=completions, answer=["18", "18"]) == [1.0, 0.0]


@pytest.mark.parametrize("num_problems", [0, -1, 2])
def test_a_number_of_problems_that_the_split_does_not_have(tmp_path, monkeypatch, num_problems):
    write(tmp_path, monkeypatch, {"question": "1 + 1?", "answer": "1 + 1 = 2\n#### 2"})
    with pytest.raises(UserError, match="gsm8k test has 1 problems"):
        get_task("gsm8k").load("test", num_problems=num_problems)


def test_a_solution_without_its_answer_names_the_row(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch, {"question": "1 + 1?", "answer": "#### 2"}, {"question": "1 + 2?", "answer": "3"})
    with pytest.raises(UserError, match="gsm8k test, row 2: no answer after ####"):
        get_task("gsm8k").load("test")


def test_an_unknown_split_names_the_known_ones():
    with pytest.raises(UserError, match="train, validation, test"):
        get_task("gsm8k").load("dev")


def test_answers_have_no_thousands_separators():
    assert answer_of("50 * 24 = 1,200\n#### 1,200") == "1200"


def write(folder, monkeypatch, *rows):
    monkeypatch.setenv("TIMECOST_DATA_DIR", str(folder))
    (folder / "gsm8k").mkdir()
    (folder / "gsm8k" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
