"""`TimeCostTrainer`: TRL's GRPO with the time of an answer in the objective.

Four methods of `GRPOTrainer` are extended. `_generate_and_score_completions` gives each group its budget of thinking,
where budgets are trained. `_calculate_rewards` (TRL: score the completions, gather over processes)
puts the objective, computed from correctness and cost of each group, where the verifier's score stood.
`_prepare_inputs` deals the roll-outs of a step to micro-batches by length, which changes nothing but the padding.
`_compute_loss` stops on a loss that is not finite. Roll-outs, advantages, loss, KL and clipping are TRL's.
"""

import inspect
from collections.abc import Callable
from functools import partial

import torch
from accelerate.utils import gather, gather_object
from transformers import LogitsProcessorList
from trl import GRPOTrainer

from timecost.batching import sort_by_length
from timecost.budget import draw_budget, ladder_of
from timecost.config import TimeCostConfig
from timecost.cost import split_tokens, token_cost
from timecost.effort import draw_effort, efforts_of
from timecost.errors import UserError
from timecost.exploration import FadeExploration
from timecost.generation import BudgetGuard
from timecost.objectives import REGISTRY
from timecost.verifiers import TooManyVerifierErrors


class TimeCostTrainer(GRPOTrainer):
    """GRPO that maximises an objective of correctness and cost.

    Args beyond those of `GRPOTrainer`:
        verifier: scores correctness; TRL's reward signature, `(completions, **columns) -> list[float | None]`, each in
            [0, 1], None when it could not judge. Such a completion is left out of every statistic.
        reward_funcs: further rewards (format and the like), added to the objective as they are, unpriced.
        style_of: completion text -> name of its style of thinking, for the log.

    Logged under `timecost/`: accuracy, thinking_tokens, answer_tokens, tokens (means per completion), frac_no_signal
    (share of prompts whose advantages are all 0), verifier_errors (share), style/<name> (share); with the prefix
    `eval_` during evaluation, so that `metric_for_best_model` may name them.

    Raises UserError for a tokenizer without the end-of-thinking token, for roll-outs through tools or environments,
    and for arguments that the objective does not have.
    """

    def __init__(
        self,
        model,
        args: TimeCostConfig,
        *,
        verifier: Callable,
        reward_funcs: Callable | list[Callable] | None = None,
        style_of: Callable[[str], str] | None = None,
        **kwargs,
    ):
        for name in ("tools", "rollout_func", "environment_factory"):
            if kwargs.get(name):
                raise UserError(f"{name} is not supported: time is counted over one completion without tool calls")
        engines = args.use_vllm or args.use_transformers_continuous_batching
        if engines and getattr(getattr(model, "config", None), "model_type", None) == "bmojo":
            raise UserError(
                "a B'MOJO is known neither to vLLM nor to continuous batching: set use_vllm and "
                "use_transformers_continuous_batching to false"
            )
        rewards = [verifier, *(reward_funcs if isinstance(reward_funcs, list) else filter(None, [reward_funcs]))]
        self.objective = bind_objective(args)
        self.style_of = style_of
        self.style_names: set[str] = set()
        super().__init__(model=model, reward_funcs=rewards, args=args, **kwargs)
        self.reward_func_names[0] = "objective"
        head = self.accelerator.unwrap_model(self.model).get_output_embeddings()
        if not hasattr(head, "bias"):  # PEFT's wrapper around trained rows; TRL's fused head reads it
            head.bias = None
        self.think_end_id = single_token_id(self.processing_class, args.think_end)
        if args.budgets:
            ladder = ladder_of(self.model.config, self.processing_class)
            if strange := set(args.budgets) - set(ladder):
                raise UserError(
                    f"budget {min(strange)} is not a rung of the model: it knows {', '.join(map(str, ladder))}"
                )
        if args.efforts and (strange := set(args.efforts) - set(efforts_of(self.model.config, self.processing_class))):
            raise UserError(f"the model does not know the effort {min(strange)}: add its token, or leave it out")
        if args.exploration_fraction is not None:
            self.add_callback(FadeExploration(self, args.exploration_fraction))

    def _generate_and_score_completions(self, inputs):
        if self.model.training and (self.args.budgets or self.args.efforts):
            inputs = self._draw_requests(inputs)
            if self.args.enforce_budgets:
                return self._generate_within_bounds(inputs)
        return super()._generate_and_score_completions(inputs)

    def _draw_requests(self, inputs: list[dict]) -> list[dict]:
        """Copies of the rows whose prompts ask for a budget or an effort, one for each group on whatever process."""
        first = self.accelerator.process_index * len(inputs)
        micro_step = self._step % self.args.gradient_accumulation_steps  # _step itself starts anew on a resume
        inputs = [dict(row) for row in inputs]
        for i, row in enumerate(inputs, start=first):
            key = (self.args.seed, self.state.global_step, micro_step, i // self.num_generations)
            if self.args.efforts:
                row["prompt"], row["elasticity"] = draw_effort(row["prompt"], self.args.efforts, *key)
            if self.args.budgets:
                row["prompt"], row["budget"] = draw_budget(
                    row["prompt"], self.args.budgets, self.args.budget_inf_share, *key
                )
        return inputs

    def _generate_within_bounds(self, inputs):
        """Roll-outs whose thinking is closed at the budget; what is forced is no choice of the policy, so it gets no
        gradient. TRL passes no logits processor to `generate`, so the model gets a `generate` that adds one."""
        model = self.accelerator.unwrap_model(self.model)
        generate, bounds = model.generate, [row["budget"] for row in inputs]

        def within_bounds(input_ids, **kwargs):
            guard = BudgetGuard(
                bounds, [False] * len(bounds), input_ids.shape[1], self.think_end_id, list(self.eos_token_ids), [],
                max_answer_tokens=self.args.max_completion_length,
            )  # fmt: skip
            return generate(input_ids=input_ids, logits_processor=LogitsProcessorList([guard]), **kwargs)

        model.generate = within_bounds
        try:
            output = super()._generate_and_score_completions(inputs)
        finally:
            del model.generate
        mask = torch.ones_like(output["completion_mask"])
        for row, bound in enumerate(bounds):
            if bound is not None and bound < mask.shape[1]:
                mask[row, bound] = output["completion_ids"][row, bound] != self.think_end_id
        return {**output, "tool_mask": mask}

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        try:
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        except TooManyVerifierErrors as error:
            raise UserError(
                f"step {self.state.global_step}: {error}; repair the verifier or the gold answers"
            ) from error
        mode = "train" if self.model.training else "eval"
        num_generations = self.num_generations if mode == "train" else self.num_generations_eval

        split = [split_tokens(list(ids), self.think_end_id) for ids in completion_ids_list]
        split = gather(torch.tensor(split, dtype=torch.float32, device=rewards.device))  # (prompts * generations, 2)
        correct = self._within_budget(inputs, split, rewards[:, 0].clone(), mode).view(-1, num_generations)
        cost = token_cost(split[:, 0], split[:, 1], self.args.prompt_cost).view(-1, num_generations)
        asked = {}
        if self.args.efforts and mode == "train":
            elasticity = gather(torch.tensor([row["elasticity"] for row in inputs], device=rewards.device))
            asked["time_elasticity"] = elasticity.view(-1, num_generations)
            self._log_efforts(elasticity, rewards[:, 0], split.sum(1))
        objective = self.objective(correct, cost, **asked)
        rewards[:, 0] = objective.flatten()

        deviation = objective - torch.nanmean(objective, 1, keepdim=True)
        no_signal = (deviation.nan_to_num(0.0).abs() < 1e-6).all(1)
        values = {
            "accuracy": torch.nanmean(correct),
            "thinking_tokens": split[:, 0].mean(),
            "answer_tokens": split[:, 1].mean(),
            "tokens": split.sum(1).mean(),
            "frac_no_signal": no_signal.float().mean(),
            "verifier_errors": torch.isnan(correct).float().mean(),
            **self._style_shares(completions),
        }
        for name, value in values.items():
            self._metrics[mode][f"timecost/{name}"].append(float(value))
        return rewards

    def _within_budget(self, inputs, split: torch.Tensor, correct: torch.Tensor, mode: str) -> torch.Tensor:
        """Correctness after budgets: thinking that overruns its own is wrong. Logs overshoot and use of the rungs."""
        if not self.args.budgets or mode == "eval":
            return correct
        asked = [float("inf") if row["budget"] is None else row["budget"] for row in inputs]
        budget = gather(torch.tensor(asked, dtype=torch.float32, device=split.device))
        over = split[:, 0] > budget
        correct = torch.where(over & ~torch.isnan(correct), 0.0, correct)
        bound = torch.isfinite(budget)
        self._metrics[mode]["timecost/overshoot"].append(float(over[bound].float().mean()) if bound.any() else 0.0)
        for rung in self.args.budgets:
            if (at := budget == rung).any():
                self._metrics[mode][f"timecost/budget_{rung}/accuracy"].append(float(torch.nanmean(correct[at])))
                self._metrics[mode][f"timecost/budget_{rung}/thinking_tokens"].append(float(split[at, 0].mean()))
        return correct

    def _log_efforts(self, elasticity: torch.Tensor, correct: torch.Tensor, tokens: torch.Tensor) -> None:
        for name, value in self.args.efforts.items():
            if (at := (elasticity - value).abs() < 1e-6).any():
                self._metrics["train"][f"timecost/effort_{name}/accuracy"].append(float(torch.nanmean(correct[at])))
                self._metrics["train"][f"timecost/effort_{name}/tokens"].append(float(tokens[at].mean()))

    def _style_shares(self, completions) -> dict[str, float]:
        """Share of each style seen so far in the run, over all processes."""
        if self.style_of is None:
            return {}
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        styles = gather_object([self.style_of(text) for text in texts])
        self.style_names.update(styles)
        return {f"style/{name}": styles.count(name) / len(styles) for name in sorted(self.style_names)}

    def _prepare_inputs(self, generation_batch):
        steps = self.args.steps_per_generation
        fresh = self._buffered_inputs is None or self._step % (steps * self.num_iterations) == 0
        inputs = super()._prepare_inputs(generation_batch)
        if not (self.model.training and fresh and self._may_sort()):
            return inputs
        self._buffered_inputs = sort_by_length(self._buffered_inputs)
        return self._buffered_inputs[self._step % steps]

    def _may_sort(self) -> bool:
        """Whether the gradient of a step is a plain sum over its sequences, whatever micro-batch they are in."""
        return (
            len(self._buffered_inputs) > 1
            and self.args.gradient_accumulation_steps % self.args.steps_per_generation == 0
            and self.loss_type in ("dr_grpo", "dapo", "cispo")
            and not self._entropy_bonus_enabled  # a mean over the tokens of a micro-batch
            and all(isinstance(value, torch.Tensor) for value in self._buffered_inputs[0].values())
        )

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss is {loss.item()} at step {self.state.global_step}: training stopped before the weights were "
                "touched; lower learning_rate or max_grad_norm, or train in float32"
            )
        return loss


def bind_objective(args: TimeCostConfig) -> Callable:
    """The objective that `args` names, with its keyword arguments bound. UserError for one that it does not have."""
    objective = REGISTRY[args.objective]
    known = [name for name, p in inspect.signature(objective).parameters.items() if p.kind is p.KEYWORD_ONLY]
    kwargs = dict(args.objective_kwargs)
    if "time_elasticity" in known:
        kwargs.setdefault("time_elasticity", args.time_elasticity)
    unknown = [name for name in kwargs if name not in known]
    if unknown:
        raise UserError(
            f"objective {args.objective} has no argument {unknown[0]!r}: it has {', '.join(known) or 'none'}"
        )
    return partial(objective, **kwargs)


def single_token_id(tokenizer, token: str) -> int:
    """Id of a token that the tokenizer must know as one. Raises UserError when it splits it."""
    ids = tokenizer.encode(token, add_special_tokens=False)
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise UserError(
            f"the tokenizer has no token {token!r} that ends the thinking: add it to the tokenizer and resize the "
            "model's embeddings, or name the model's own with think_end"
        )
    return ids[0]
