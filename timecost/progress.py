"""What a training run shows while it runs: a line a minute, and columns of TRL's table of completions."""

import time

from transformers import TrainerCallback

PERIOD = 60.0  # seconds


class SummaryLine(TrainerCallback):
    """Calls `say` with one line at the first log, and at most every `period` seconds from then on."""

    def __init__(self, say, period: float = PERIOD, clock=time.monotonic):
        self.say, self.period, self.clock = say, period, clock
        self.started = self.last = None
        self.first_step = 0

    def on_train_begin(self, args, state, control, **kwargs):
        self.started, self.first_step = self.clock(), state.global_step

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not state.is_world_process_zero or not logs or "timecost/tokens" not in logs:
            return
        now = self.clock()
        if self.last is None or now - self.last >= self.period:
            self.last = now
            done = state.global_step - self.first_step
            left = (now - self.started) / done * (state.max_steps - state.global_step) if done else None
            self.say(summary(logs, state.global_step, state.max_steps, left))


def summary(logs: dict, step: int, max_steps: int, seconds_left: float | None) -> str:
    """`step 40 of 200: accuracy 0.950, 23.4 tokens (20.1 thinking), ...; 12 min left`, from what a trainer logs."""
    parts = [f"{logs['timecost/tokens']:.1f} tokens ({logs['timecost/thinking_tokens']:.1f} thinking)"]
    if (accuracy := logs.get("timecost/accuracy")) is not None:
        parts.insert(0, f"accuracy {accuracy:.3f}")
    if (over := logs.get("timecost/overshoot")) is not None:
        parts.append(f"{100 * over:.0f} % over their budget")
    parts.append(f"{100 * logs['timecost/frac_no_signal']:.0f} % of prompts without a signal")
    if errors := logs.get("timecost/verifier_errors"):
        parts.append(f"{100 * errors:.1f} % verifier errors")
    if seconds_left is None:
        return f"step {step} of {max_steps}: {', '.join(parts)}"
    left = f"{seconds_left / 60:.0f} min" if seconds_left >= 60 else f"{seconds_left:.0f} s"
    return f"step {step} of {max_steps}: {', '.join(parts)}; {left} left"


def completion_columns(inputs: list[dict], split, cost, process_index: int, bounded: bool) -> dict[str, list]:
    """What each completion of this process was asked for and used: budget, in a training with budgets (`bounded`),
    thinking, answer, cost.

    `inputs` are the rows of this process, in evaluation without a budget; `split` (all completions, 2), thinking and
    answer tokens, and `cost`, any shape, are those of all processes.
    """
    mine = slice(process_index * len(inputs), (process_index + 1) * len(inputs))
    out = {}
    if bounded:  # in evaluation, too: TRL's table needs columns of one length
        out["budget"] = ["inf" if (budget := row.get("budget")) is None else str(budget) for row in inputs]
    thinking, answer = split.int().T
    return out | {
        "thinking": thinking[mine].tolist(), "answer": answer[mine].tolist(), "cost": cost.flatten()[mine].tolist(),
    }  # fmt: skip
