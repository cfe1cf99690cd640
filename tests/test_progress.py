from types import SimpleNamespace

import torch

from timecost.progress import SummaryLine, completion_columns, summary

LOGS = {"timecost/accuracy": 0.95, "timecost/tokens": 23.4, "timecost/thinking_tokens": 20.1,
        "timecost/frac_no_signal": 0.25}  # fmt: skip


def test_the_line_says_how_far_and_how_well():
    line = summary({**LOGS, "timecost/overshoot": 0.1, "timecost/verifier_errors": 0.004}, 40, 200, 720)
    assert line == (
        "step 40 of 200: accuracy 0.950, 23.4 tokens (20.1 thinking), 10 % over their budget, "
        "25 % of prompts without a signal, 0.4 % verifier errors; 12 min left"
    )
    assert summary({**LOGS, "timecost/accuracy": None}, 1, 2, None) == (
        "step 1 of 2: 23.4 tokens (20.1 thinking), 25 % of prompts without a signal"
    )


def test_a_line_a_minute_on_the_main_process():
    said, now = [], [0.0]
    line = SummaryLine(said.append, clock=lambda: now[0])
    state = SimpleNamespace(global_step=10, max_steps=30, is_world_process_zero=True)
    line.on_train_begin(None, state, None)
    for step, seconds in ((11, 10), (12, 20), (18, 80), (19, 90)):
        state.global_step, now[0] = step, seconds
        line.on_log(None, state, None, logs=LOGS)
        line.on_log(None, state, None, logs={"eval_loss": 1.0})
    assert [one.partition(":")[0] for one in said] == ["step 11 of 30", "step 18 of 30"]
    assert said[1].endswith("2 min left")  # 80 s for 8 steps, 12 to come
    state.is_world_process_zero, now[0] = False, 500
    line.on_log(None, state, None, logs=LOGS)
    assert len(said) == 2


def test_columns_are_those_of_this_process():
    inputs = [{"budget": 8}, {"budget": None}]
    split = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    cost = torch.tensor([[4.0, 8.0], [12.0, 16.0]])
    assert completion_columns(inputs, split, cost, process_index=1, bounded=True) == {
        "budget": ["8", "inf"], "thinking": [5, 7], "answer": [6, 8], "cost": [12.0, 16.0]
    }  # fmt: skip
    assert completion_columns([{}], split, cost, process_index=0, bounded=True)["budget"] == ["inf"]  # in evaluation
    assert "budget" not in completion_columns(inputs, split, cost, process_index=0, bounded=False)
