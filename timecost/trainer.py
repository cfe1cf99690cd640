"""`TimeCostTrainer`: TRL's GRPO with the time of an answer in the objective.

Six methods of `GRPOTrainer` are extended. `get_train_dataloader` looks at the data first.
`_generate_and_score_completions` gives each group its budget of thinking, where budgets are trained.
`_calculate_rewards` puts the objective, of correctness and cost of each group over all processes, where the verifier's
score stood. `_prepare_inputs` deals the roll-outs of a step to micro-batches by length. `_compute_loss` stops on a loss
that is not finite. `create_model_card` writes our own. Roll-outs, advantages and loss are TRL's.
"""

from collections.abc import Callable

import torch
from accelerate.utils import gather, gather_object
from transformers import LogitsProcessorList
from trl import GRPOTrainer

from timecost.batching import sort_by_length
from timecost.budget import ladder_of
from timecost.checkpoints import KeepState
from timecost.config import TimeCostConfig, bind_objective
from timecost.cost import load_cost_model, split_tokens
from timecost.effort import efforts_of
from timecost.errors import UserError
from timecost.exploration import FadeExploration
from timecost.forcing import BudgetGuard
from timecost.model_card import training_facts, write_card
from timecost.objectives import STRENGTH, problem_id
from timecost.progress import completion_columns
from timecost.prompt_tokens import encode_prompt, opened_thinking, think_end_id
from timecost.requests import draw_requests
from timecost.unsupported import check_arguments, check_prompts, check_trainer
from timecost.verifiers import TooManyVerifierErrors


class TimeCostTrainer(GRPOTrainer):
    """GRPO that maximises an objective of correctness and cost.

    Args beyond those of `GRPOTrainer`:
        verifier: scores correctness; TRL's reward signature, `(completions, **columns) -> list[float | None]`, each in
            [0, 1], None when it could not judge. Such a completion is left out of every statistic.
        reward_funcs: further rewards (format and the like), added to the objective as they are, unpriced. The first of
            `reward_weights` is the objective's; `reward_processing_classes` are those of `reward_funcs`.
        style_of: completion text -> name of its style of thinking, for the log.
        joint_value: a `timecost.value.joint.JointValueHead` that learns beside the policy; needs the column `answer`.

    Logged under `timecost/`: accuracy, thinking_tokens, answer_tokens, tokens, cost (means per completion, the last in
    the cost model's unit), frac_no_signal (share of prompts whose objective is the same in all completions),
    verifier_errors (share), style/<name> (share), price_factor; with the prefix `eval_` during evaluation, so that
    `metric_for_best_model` may name them.

    Raises UserError for a tokenizer without the end-of-thinking token, for roll-outs through tools or environments,
    and for arguments that the objective does not have.
    """

    task_name: str | None = None  # for the model card

    def __init__(
        self,
        model,
        args: TimeCostConfig,
        *,
        verifier: Callable,
        reward_funcs: Callable | list[Callable] | None = None,
        style_of: Callable[[str], str] | None = None,
        joint_value=None,
        **kwargs,
    ):
        check_arguments(args, model, joint_value, {**kwargs, "verifier": verifier})
        rewards = [verifier, *(reward_funcs if isinstance(reward_funcs, list) else filter(None, [reward_funcs]))]
        self.objective, self.price_control = bind_objective(args), args.price_control()
        kept = KeepState(objective=self.objective, price_control=self.price_control)
        kwargs["callbacks"] = [kept, *(kwargs.get("callbacks") or [])]
        if (own := kwargs.get("reward_processing_classes")) is not None:  # the verifier has none
            kwargs["reward_processing_classes"] = [None, *(own if isinstance(own, list) else [own])]
        self.style_of, self.style_names, self.joint_value = style_of, set(), joint_value
        super().__init__(model=model, reward_funcs=rewards, args=args, **kwargs)
        check_trainer(self)
        self.reward_func_names[0] = "objective"
        head = self.accelerator.unwrap_model(self.model).get_output_embeddings()
        if not hasattr(head, "bias"):  # PEFT's wrapper around trained rows; TRL's fused head reads it
            head.bias = None
        self.cost_model = load_cost_model(args.cost_model, self.model.config, args.prompt_cost)
        self.think_end_id = think_end_id(self.processing_class, args.think_end)
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
        output = self._generate_as_asked(inputs)
        if self.joint_value is not None and self.accelerator.is_main_process:
            forecasts = [None] * len(inputs) * self.accelerator.num_processes  # of the main process only are they known
            if self.model.training:
                model, answers = self.accelerator.unwrap_model(self.model), [row["answer"] for row in inputs]
                for name, value in self.joint_value.observe_batch(model, output, answers).items():
                    self._metrics["train"][f"timecost/{name}"].append(value)
                forecasts[: len(inputs)] = self.joint_value.forecasts
            self._logs["extra"]["value"].extend(forecasts)
        return output

    def _generate_as_asked(self, inputs):
        if self.model.training and (self.args.budgets or self.args.efforts):
            inputs = self._draw_requests(inputs)
            if self.args.enforce_budgets:
                return self._generate_within_bounds(inputs)
        return super()._generate_and_score_completions(inputs)

    def _draw_requests(self, inputs: list[dict]) -> list[dict]:
        """Copies of the rows whose prompts ask for a budget or an effort, one for each group on whatever process."""
        return draw_requests(
            inputs, self.args, self.state.global_step, self.state.max_steps,
            micro_step=self._step % self.args.gradient_accumulation_steps,  # _step itself starts anew on a resume
            first=self.accelerator.process_index * len(inputs), num_generations=self.num_generations,
        )  # fmt: skip

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
        shown = completions
        if opened := opened_thinking(self.processing_class, prompts[0], **(self.chat_template_kwargs or {})):
            shown = [[{**last, "content": opened + last["content"]}] for (last,) in completions]
        try:
            rewards = super()._calculate_rewards(inputs, prompts, shown, completion_ids_list)
        except TooManyVerifierErrors as error:
            raise UserError(
                f"step {self.state.global_step}: {error}; repair the verifier or the gold answers"
            ) from error
        rewards[torch.isnan(rewards[:, 0])] = torch.nan  # not judged: TRL leaves out what no reward knows
        mode = "train" if self.model.training else "eval"
        num_generations = self.num_generations if mode == "train" else self.num_generations_eval

        split = [split_tokens(list(ids), self.think_end_id) for ids in completion_ids_list]
        split = gather(torch.tensor(split, dtype=torch.float32, device=rewards.device))  # (prompts * generations, 2)
        correct = self._within_budget(inputs, split, rewards[:, 0].clone(), mode).view(-1, num_generations)
        cost = self._cost(prompts, split).view(-1, num_generations)
        if self.args.log_completions:
            bounded, process_index = bool(self.args.budgets), self.accelerator.process_index
            for name, values in completion_columns(inputs, split, cost, process_index, bounded).items():
                self._log_completion_extra(name, values)
        asked = self._asked(inputs, prompts, split, mode)
        if self.args.efforts and mode == "train":
            self._log_efforts(asked["effort"].flatten(), rewards[:, 0], split.sum(1))
        objective = self.objective(correct, cost, **asked)
        rewards[:, 0] = objective.flatten()

        deviation = objective - torch.nanmean(objective, 1, keepdim=True)
        no_signal = (deviation.nan_to_num(0.0).abs() < 1e-6).all(1).float().mean()
        styles = self._styles(completions)
        values = {
            "accuracy": torch.nanmean(correct),
            "thinking_tokens": split[:, 0].mean(),
            "answer_tokens": split[:, 1].mean(),
            "tokens": split.sum(1).mean(),
            "cost": cost.mean(),
            "frac_no_signal": no_signal,
            "verifier_errors": torch.isnan(correct).float().mean(),
            **{f"style/{name}": styles.count(name) / len(styles) for name in sorted(self.style_names)},
        }
        if mode == "train":
            self.price_control.observe(correct, cost, styles=styles, no_signal=float(no_signal))
            values |= {"price_factor": asked.get("price_factor", 1.0), **self.price_control.metrics()}
        for name, value in values.items():
            self._metrics[mode][f"timecost/{name}"].append(float(value))
        return rewards

    def _within_budget(self, inputs, split: torch.Tensor, correct: torch.Tensor, mode: str) -> torch.Tensor:
        """Correctness after budgets: thinking that overruns is wrong, unless the objective judges it. Logs the use."""
        if not self.args.budgets or mode == "eval" or "budget" in self.objective.asks:
            return correct
        asked = [float("inf") if row["budget"] is None else row["budget"] for row in inputs]
        budget = gather(torch.tensor(asked, dtype=torch.float32, device=split.device))
        over = split[:, 0] > budget
        correct = torch.where(over & ~torch.isnan(correct), 0.0, correct)
        bound = torch.isfinite(budget)
        if bound.any():
            self._metrics[mode]["timecost/overshoot"].append(float(over[bound].float().mean()))
        for rung in self.args.budgets:
            if (at := budget == rung).any():
                self._metrics[mode][f"timecost/budget_{rung}/accuracy"].append(float(torch.nanmean(correct[at])))
                self._metrics[mode][f"timecost/budget_{rung}/thinking_tokens"].append(float(split[at, 0].mean()))
        return correct

    def _log_efforts(self, effort: torch.Tensor, correct: torch.Tensor, tokens: torch.Tensor) -> None:
        for name, value in self.args.efforts.items():
            if (at := (effort - value).abs() < 1e-6).any():
                self._metrics["train"][f"timecost/effort_{name}/accuracy"].append(float(torch.nanmean(correct[at])))
                self._metrics["train"][f"timecost/effort_{name}/tokens"].append(float(tokens[at].mean()))

    def _cost(self, prompts, split: torch.Tensor) -> torch.Tensor:
        """Cost of each completion, over all processes, in the cost model's unit."""
        lengths = torch.zeros_like(split[:, 0])
        if self.cost_model.needs_prompt:
            options = self.chat_template_kwargs or {}
            lengths = [len(encode_prompt(self.processing_class, prompt, **options)) for prompt in prompts]
            lengths = gather(torch.tensor(lengths, dtype=torch.float32, device=split.device))
        return self.cost_model(lengths, split[:, 0], split[:, 1])

    def _asked(self, inputs, prompts, split: torch.Tensor, mode: str) -> dict:
        """What the objective is told of a batch beside correctness and cost, for the prompts of all processes."""
        num_generations = self.num_generations if mode == "train" else self.num_generations_eval
        told = {
            "update": mode == "train", "step": self.state.global_step,
            "max_length": float(self.args.max_completion_length), "thinking": split[:, 0].view(-1, num_generations),
        }  # fmt: skip
        if self.objective.name in STRENGTH:
            told["price_factor"] = self.price_control.factor
        drawn = {"effort": self.args.efforts, "budget": self.args.budgets}  # a data set may have such columns
        drawn["elasticity"] = self.args.bounded_time_elasticity is not None
        for key in [key for key, wanted in drawn.items() if wanted and mode == "train"]:
            values = [float("inf") if row[key] is None else row[key] for row in inputs]
            values = gather(torch.tensor(values, dtype=torch.float32, device=split.device))
            told["time_elasticity" if key == "elasticity" else key] = values.view(-1, num_generations)
        if "effort" in told:
            told.setdefault("time_elasticity", told["effort"])
        if mode == "eval" and self.args.budgets:  # evaluation asks for none
            told["budget"] = torch.full_like(told["thinking"], float("inf"))
        if "problem_ids" in self.objective.asks:
            ids = gather_object([problem_id(row.get("unasked", p)) for row, p in zip(inputs, prompts, strict=True)])
            told["problem_ids"] = ids[::num_generations]
        return told

    def _styles(self, completions) -> list[str] | None:
        """The style of each completion, over all processes; None where the task knows no styles."""
        if self.style_of is None:
            return None
        styles = [self.style_of(c if isinstance(c, str) else c[-1]["content"]) for c in completions]
        self.style_names.update(gathered := gather_object(styles))  # of the run so far
        return gathered

    def get_train_dataloader(self):
        check_prompts(self.train_dataset, self.processing_class, self.args)
        return super().get_train_dataloader()

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
            and self.top_entropy_quantile == 1.0  # of a micro-batch
            and not self.aux_loss_enabled  # balances experts within a micro-batch
            and not self.args.pad_to_multiple_of  # which trimming would undo
            and all(isinstance(value, torch.Tensor) for value in self._buffered_inputs[0].values())
        )

    def create_model_card(self, model_name=None, dataset_name=None, tags=None):
        """TRL's hook for README.md in output_dir; `task_name` may be set before."""
        if self.is_world_process_zero():
            write_card(self.args.output_dir, training_facts(self, self.task_name or dataset_name))

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        if self.model.training and (entropies := self._metrics["train"].get("entropy")):
            latest = entropies[-self.args.steps_per_generation :]  # the log empties the list
            self.price_control.entropy = sum(latest) / len(latest)
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss is {loss.item()} at step {self.state.global_step}: training stopped before the weights were "
                "touched; lower learning_rate or max_grad_norm, or train in float32"
            )
        return loss
