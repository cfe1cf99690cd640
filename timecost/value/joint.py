"""A value head fitted beside reinforcement learning, on a share of the roll-outs that the step has paid for.

At each step some completions are probed at their boundaries, the head is judged on them before it has seen them, and
then takes a few steps on the newest traces. States are detached: the policy does not feel the head. The policy moves on
while old traces stay, so that the head of a finished training should be refitted (`timecost fit-value`) and calibrated.
"""

import random
import zlib
from collections import deque
from dataclasses import dataclass, field

import torch

from timecost.value.baseline import PrefixBaseline
from timecost.value.fitting import FitConfig, fit_value_head, open_loss, standardise
from timecost.value.head import ValueHead, ValueHeadConfig
from timecost.value.probes import score_answers
from timecost.value.states import attends_alone
from timecost.value.steps import StepRule
from timecost.value.targets import anytime_values, hazard_targets, horizons_up_to, remaining_tokens
from timecost.value.traces import ProbedTraces, Trace, join, read_trace


@dataclass
class JointValueHead:
    """State of the joint fit, on the main process alone.

    Args:
        share: of the completions of a step that are probed.
        limit: thinking tokens at which a roll-out is cut.
        num_kept: newest sets of traces, one a step, that the head learns from.
        num_updates: steps of the head for each step of the policy.
        baseline: advantages become those per token, less what the head came to expect (timecost.value.baseline).
        forecasts: of the completions seen last, before they thought: the head's chance of a right answer at the natural
            end of thinking. None where no completion of the prompt was probed.
    """

    tokenizer: object
    step_rule: StepRule
    think_end_id: int
    eos_ids: list[int]
    limit: int
    task: str = ""
    share: float = 0.125
    num_kept: int = 40
    num_updates: int = 4
    learning_rate: float = 1e-3
    seed: int = 0
    baseline: PrefixBaseline | None = None
    head: ValueHead | None = None
    forecasts: list[float | None] = field(default_factory=list)
    num_seen: int = 0
    kept: deque = field(default_factory=deque)

    def observe_batch(self, model, batch: dict, answers: list[str]) -> dict:
        """`observe` for what TRL's `_generate_and_score_completions` returns; a baseline changes its advantages."""
        prompts, completions = (
            [ids[mask.bool()].tolist() for ids, mask in zip(batch[f"{name}_ids"], batch[f"{name}_mask"], strict=True)]
            for name in ("prompt", "completion")
        )
        measures = {}
        if self.baseline is not None and self.head is not None:
            traces = [self._trace(*row) for row in zip(prompts, completions, strict=True)]
            batch["advantages"], measures["value/advantage_left"] = self.baseline.per_token(
                model, self.head, traces, batch["advantages"], batch["completion_mask"]
            )
        return measures | self.observe(model, prompts, completions, answers)

    def observe(self, model, prompts: list[list[int]], completions: list[list[int]], answers: list[str]) -> dict:
        """Probe some of the completions and learn from them; returns measures of the head on them, for the log."""
        drawn = random.Random(f"{self.seed}:{self.num_seen}").sample(
            range(len(prompts)), max(1, round(self.share * len(prompts)))
        )
        self.num_seen += 1
        traces = [self._trace(prompts[i], completions[i]) for i in drawn]
        right = [self.tokenizer.encode(answers[i], add_special_tokens=False) for i in drawn]
        probed = score_answers(model, traces, right, [self.think_end_id], self.eos_ids[0])
        if self.head is None:
            self._start(model, probed)
        values = anytime_values(probed, self.head.config.horizons)
        with torch.no_grad():
            forecast = self.head.forecast(probed).value
        error = (forecast - values) ** 2
        starts = (probed.position == 0).nonzero()[:, 0].tolist()
        known = {tuple(prompts[drawn[int(probed.trace[i])]]): round(float(forecast[i, -1]), 3) for i in starts}
        self.forecasts = [known.get(tuple(ids)) for ids in prompts]
        self.kept.append(probed)
        while len(self.kept) > self.num_kept:
            self.kept.popleft()
        self._update()
        return {
            "value/error_now": float(error[:, 0].nanmean()), "value/error_end": float(error[:, -1].nanmean()),
            "value/now": float(values[:, 0].nanmean()), "value/end": float(values[:, -1].nanmean()),
            "value/probes": float(len(probed)),
        }  # fmt: skip

    def _trace(self, prompt: list[int], completion: list[int]) -> Trace:
        number = zlib.crc32(repr(prompt).encode())
        return read_trace(number, prompt, completion, self.think_end_id, self.eos_ids, self.step_rule, self.limit)

    def _start(self, model, probed: ProbedTraces) -> None:
        self.may_peek = attends_alone(model)
        peek = self.may_peek and self.baseline is None  # a baseline is wanted where nobody has looked
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.head = ValueHead(
                ValueHeadConfig(
                    probed.hidden.shape[1], horizons_up_to(self.limit), width=128, peek=peek, agreed=peek,
                    step_rule=self.step_rule, task=self.task,
                    max_thinking_tokens=self.limit,
                )
            ).eval()  # fmt: skip
        standardise(self.head, probed)
        self.optimiser = torch.optim.AdamW(self.head.open.parameters(), self.learning_rate)
        self.generator = torch.Generator().manual_seed(self.seed)

    def _update(self) -> None:
        for _ in range(self.num_updates):
            i = int(torch.randint(len(self.kept), (1,), generator=self.generator))
            traces = self.kept[i]
            loss = open_loss(
                self.head, self.head.inputs_of(traces), anytime_values(traces, self.head.config.horizons),
                *hazard_targets(*remaining_tokens(traces), self.head.config.horizons),
            )  # fmt: skip
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()

    def finish(self) -> ValueHead:
        """The head for the end of training: fitted anew, both loops, on the traces that were kept."""
        return fit_value_head(
            join(list(self.kept)), FitConfig(peek=self.may_peek, seed=self.seed), step_rule=self.step_rule,
            task=self.task, split="train", max_thinking_tokens=self.limit,
        )  # fmt: skip
