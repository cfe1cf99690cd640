"""A batch of a job, sampled and judged: what a row says of a completion."""

from dataclasses import replace

from timecost.evaluation import runner
from timecost.evaluation.batches import answer_text, judge, stop_cause
from timecost.evaluation.evaluate import evaluate
from timecost.evaluation.jobs import Settings, make_jobs
from timecost.evaluation.sampling import Completion
from timecost.loading import load_model_to_use
from timecost.tasks.arithmetic import ARITHMETIC


def test_an_answer_without_thinking_can_be_right(tiny_arithmetic, monkeypatch):
    monkeypatch.setattr(runner, "sample", lambda *args: ([completion_of(args[1], "7")] * len(args[4]), 0.1))
    record = evaluate(tiny_arithmetic, "arithmetic", budget=0, num_problems=50, num_samples=1)
    assert record["accuracy"] > 0 and record["answer_rate"] == 1 and record["styles"] == {"direct": 1.0}


def test_a_reply_that_never_thinks_is_answer_throughout(with_ladder):
    _, tokenizer = load_model_to_use(with_ladder)
    settings = Settings(num_problems=1, max_completion_length=32)
    (job,) = make_jobs("m", ARITHMETIC, [None], settings, conversational=False, model={})

    def counted(prompt, text, finished=True):
        completion = replace(completion_of(tokenizer, text), finished=finished)
        problems = [{"prompt": prompt, "answer": "7"}]
        (row,) = judge(tokenizer, replace(job, problems=problems), [(0, 0)], [completion], 0.1)
        return row["thinking_tokens"], row["answer_tokens"], row["answered"]

    assert counted("a7=", "42") == (0, 3, True)
    assert counted("a7=", "42", finished=False) == (3, 0, False), "it might have gone on to close a thought"
    for prompt, text in (("a7=", "<think>42"), ("a7=<think>", "421"), ("a7=<think>\n", "421")):
        assert counted(prompt, text) == (4, 0, False)
    assert counted("a7=", "4</think>2") == (1, 3, True)


def completion_of(tokenizer, text):
    return Completion([*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id], True)


def test_why_a_completion_ended():
    settings = Settings(num_problems=1, enforce="hard", max_answer_tokens=3)
    free, held = make_jobs("m", ARITHMETIC, [None, 8], settings, conversational=False, model={})
    ended, cut = Completion([], True), Completion([], False)
    assert (stop_cause(free, ended, 20, 9), stop_cause(free, cut, 29, 0)) == ("natural", "length")
    # beside the answer stand the end of thinking and the end of sequence
    assert [stop_cause(held, ended, 7, 1 + answer + 1) for answer in (0, 2, 3)] == ["natural", "natural", "length"]
    assert stop_cause(held, ended, 8, 4) == "budget"


def test_answer_text():
    assert answer_text("1+1=2;</think>2", "</think>", True) == "2"
    assert answer_text("1+1=", "</think>", False) == ""
    assert answer_text("<think>1+1=2", "</think>", True) == "", "thinking that never closes is no answer"
    assert answer_text("The answer is 2.", "</think>", True) == "The answer is 2."
