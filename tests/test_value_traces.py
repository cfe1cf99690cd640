"""Thoughts and what was found at their boundaries."""

import torch
from safetensors.torch import load_file
from value_traces import two_traces

from timecost.value.steps import StepRule
from timecost.value.traces import ProbedTraces, agreement, join, read_trace

THINK_END, EOS = 5, 2


def test_a_completion_is_read_up_to_the_end_of_thinking_or_the_limit():
    ended = read_trace(0, [1], [9, 8, THINK_END, 7, EOS], THINK_END, [EOS], StepRule((8,)), 4)
    assert (ended.thinking_ids, ended.natural, ended.boundaries) == ([9, 8], True, [0, 2])
    cut = read_trace(0, [1], [9, 8, 7, 6, 5], 99, [EOS], StepRule((8,)), 4)
    assert (cut.thinking_ids, cut.natural) == ([9, 8, 7, 6], False)


def test_agreement_counts_equal_answers_in_a_row():
    trace, answer = torch.arange(8) // 4, torch.tensor([4, 4, 7, 7, 7, 7, -1, -1])
    assert agreement(trace, answer).tolist() == [1, 2, 1, 2, 1, 2, 1, 1], "each trace anew; no answer agrees with none"
    assert agreement(trace[:0], answer[:0]).tolist() == []


def test_traces_are_joined_selected_and_kept(tmp_path):
    both = join([two_traces(), two_traces()])
    assert both.trace.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    second = both.select(torch.tensor([False, True, False, True]))
    assert second.trace.tolist() == [0, 0, 1, 1] and second.num_thinking.tolist() == [4, 4]
    both.save(tmp_path / "traces.safetensors")
    assert set(load_file(tmp_path / "traces.safetensors")) == {
        "problem", "num_thinking", "natural", "end_value", "trace", "position", "value", "hidden", "closing",
        "confidence", "entropy", "answer", "agreed",
    }, "files that were written keep their names"  # fmt: skip
    again = ProbedTraces.load(tmp_path / "traces.safetensors")
    assert again.position.tolist() == both.position.tolist()
