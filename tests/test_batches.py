"""A batch of a job, sampled and judged: what a row says of a completion."""

from timecost.evaluation import runner
from timecost.evaluation.batches import answer_text
from timecost.evaluation.evaluate import evaluate
from timecost.evaluation.sampling import Completion


def test_an_answer_without_thinking_can_be_right(tiny_arithmetic, monkeypatch):
    monkeypatch.setattr(runner, "sample", lambda *args: ([completion_of(args[1], "7")] * len(args[4]), 0.1))
    record = evaluate(tiny_arithmetic, "arithmetic", budget=0, num_problems=50, num_samples=1)
    assert record["accuracy"] > 0 and record["answer_rate"] == 1 and record["styles"] == {"direct": 1.0}


def completion_of(tokenizer, text):
    return Completion([*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id], True)


def test_answer_text():
    assert answer_text("1+1=2;</think>2", "</think>", True) == "2"
    assert answer_text("1+1=", "</think>", False) == ""
    assert answer_text("<think>1+1=2", "</think>", True) == "", "thinking that never closes is no answer"
    assert answer_text("The answer is 2.", "</think>", True) == "The answer is 2."
