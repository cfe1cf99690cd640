"""What is asked of a model: the prompt that names a budget or a baseline, and solved examples before it."""

from dataclasses import replace

import pytest

from timecost.errors import UserError
from timecost.evaluation.jobs import Settings, ask_for, encode_job, load_problems, make_jobs
from timecost.tasks import get_task
from timecost.tasks.arithmetic import ARITHMETIC


def test_the_budget_stands_in_the_prompt_or_the_baseline_in_its_place(with_ladder):
    from timecost.loading import load_model_to_use

    model, tokenizer = load_model_to_use(with_ladder)

    def asked(budget, baseline=None):
        settings = Settings(num_problems=1, baseline=baseline, max_completion_length=32)
        (job,) = make_jobs("m", ARITHMETIC, [budget], settings, conversational=False, model={})
        return job, tokenizer.decode(encode_job(model, tokenizer, job)[0]).replace(" ", "")

    plain = asked(None)[1]
    assert asked(9)[1] == plain.replace("a", "<|budget_8|>a", 1), "rounded down to the ladder"
    assert asked(0)[1] == plain + "</think>"
    job, prompt = asked(9, "truncation")
    assert prompt == plain and job.enforce == "hard"
    assert ask_for("1+1?", 9) == "Use at most 9 tokens of thinking.\n\n1+1?"
    assert ask_for([{"role": "user", "content": "1+1?"}], 9)[0]["content"].startswith("1+1?\n\nUse at most 9")


def test_a_model_whose_thinking_cannot_be_told_from_its_answer_is_refused(with_ladder):
    from timecost.loading import load_model_to_use

    model, tokenizer = load_model_to_use(with_ladder)
    (job,) = make_jobs("m", ARITHMETIC, [None], Settings(num_problems=1), conversational=False, model={})
    tokenizer.add_special_tokens({"extra_special_tokens": [*tokenizer.extra_special_tokens, "</think>"]})
    with pytest.raises(UserError, match="'</think>' is a special token"):
        encode_job(model, tokenizer, job)


def test_examples_come_from_the_train_split_and_are_always_the_same(data_dir):
    settings = Settings(num_problems=2, num_fewshot=2)
    chats, texts = (load_problems(get_task("gsm8k"), settings, chat) for chat in (True, False))
    assert [m["role"] for m in chats[0]["prompt"]] == ["user", "assistant"] * 2 + ["user"]
    assert chats[0]["prompt"][:4] == chats[1]["prompt"][:4]
    assert "####" in chats[0]["prompt"][1]["content"]
    assert texts[0]["prompt"].count("Problem:") == 3 and texts[0]["prompt"].endswith("Solution:")


@pytest.mark.parametrize(
    ("changes", "number", "message"),
    [({"splits": ("test",)}, 1, "from a train split with solutions, which t lacks"), ({}, 4, "t has 3 problems in"),
     ({"solutions": lambda split: []}, 1, "needs one gold solution for each problem of train")],
)  # fmt: skip
def test_examples_that_a_task_does_not_have(tmp_path, changes, number, message):
    (tmp_path / "t.jsonl").write_text("".join(f'{{"q": "{i}+1?", "a": "{i + 1}"}}\n' for i in range(3)))
    (tmp_path / "t.yaml").write_text(
        "name: t\nsplits: {train: t.jsonl, test: t.jsonl}\nprompt: '{q}'\nanswer: '{a}'\nsolution: '#### {a}'\n"
        "verifier: exact\n"
    )
    task = get_task(str(tmp_path / "t.yaml"))
    with pytest.raises(UserError, match=message):
        load_problems(replace(task, **changes), Settings(num_fewshot=number), False)
    prompts = [row["prompt"] for row in load_problems(task, Settings(num_fewshot=3), False)]
    assert prompts[0].endswith("\n\n0+1?")
    assert [prompt.count("#### ") for prompt in prompts] == [2] * 3, "no problem is an example of itself"
