"""What `TimeCostTrainer` is told, on top of TRL's `GRPOConfig`."""

import math
import warnings
from dataclasses import dataclass, field

import torch
from trl import GRPOConfig

from timecost.budget import check_rungs
from timecost.cost import in_unit, unit_of
from timecost.effort import check_efforts
from timecost.errors import UserError
from timecost.objectives import PRICES, REGISTRY, SIZES, STRENGTH, Objective
from timecost.price_control import SCHEDULES, PriceControl


@dataclass
class TimeCostConfig(GRPOConfig):
    """`GRPOConfig` with an objective that sees time.

    Two of TRL's defaults change. `scale_rewards="none"`: dividing by the group's standard deviation rescales a prompt
    that is always solved by its lengths alone, and the price loses its unit. `loss_type="dr_grpo"`: normalising each
    sequence by its own length is a length bias of its own. Raises UserError where a setting would take the price's
    meaning away.
    """

    objective: str = field(
        default="levin", metadata={"help": f"What replaces the reward: {', '.join(REGISTRY)} (timecost.objectives)."}
    )
    time_elasticity: float = field(
        default=0.05,
        metadata={
            "help": "Objective levin: relative accuracy that a relative saving of time is worth; no unit. A saving "
            "from T to rT pays for itself while accuracy falls by less than the factor r**time_elasticity."
        },
    )
    objective_kwargs: dict = field(
        default_factory=dict, metadata={"help": "Further arguments of the objective, such as {'price': 0.001}."}
    )
    cost_model: str = field(
        default="tokens",
        metadata={
            "help": "What time is counted in: tokens, flops, or a JSON file for seconds (`timecost fit-cost`) or usd. "
            "Prices and lengths of the objective are then written with their unit, such as {price: 0.1/second}."
        },
    )
    price_schedule: str = field(
        default="constant",
        metadata={
            "help": f"How the strength of the objective moves: {', '.join(SCHEDULES)}. dual: to the target that "
            "max_accuracy_loss or max_mean_cost states."
        },
    )
    price_warmup_steps: int = field(
        default=0, metadata={"help": "With price_schedule warmup: optimizer steps over which the price rises from 0."}
    )
    max_accuracy_loss: float | None = field(
        default=None,
        metadata={
            "help": "With price_schedule dual: the dearest price that loses at most this much accuracy, such as 0.01, "
            "against reference_accuracy."
        },
    )
    reference_accuracy: float | None = field(
        default=None,
        metadata={
            "help": "With max_accuracy_loss: accuracy to lose from; None: the start model's, in its first steps."
        },
    )
    max_mean_cost: str | None = field(
        default=None,
        metadata={
            "help": "With price_schedule dual: the lowest price at which a completion costs at most this much on "
            "average, such as 200 (tokens) or '2 seconds'."
        },
    )
    price_rate: float = field(
        default=0.03,
        metadata={
            "help": "With price_schedule dual: how much the log of the price moves in a step, which is at least 256 "
            "completions."
        },
    )
    collapse_guard: bool = field(
        default=False,
        metadata={
            "help": "Halve the price when log p - time_elasticity * log T falls clearly below the best that the start "
            "model's own styles reach (timecost.price_control)."
        },
    )
    collapse_margin: float = field(
        default=0.1,
        metadata={"help": "With collapse_guard: how far below is clear, in nats (0.1: about a tenth of accuracy)."},
    )
    think_end: str = field(
        default="</think>", metadata={"help": "Token that ends the thinking; one token of the tokenizer."}
    )
    prompt_cost: float = field(
        default=1.0, metadata={"help": "Fixed cost of reading the prompt, in tokens; about one decoding step."}
    )
    exploration_fraction: float | None = field(
        default=None,
        metadata={
            "help": "Fraction of training over which the KL coefficient `beta` and the entropy bonus `entropy_coef` "
            "fade linearly to 0, so that styles of thinking survive until the model has learned where each pays. "
            "None: both stay constant."
        },
    )
    budgets: list[int] | None = field(
        default=None,
        metadata={
            "help": "Rungs of thinking tokens to train on, such as 64 128 256: each group of completions is asked to "
            "keep within one, and one that overruns it is wrong. The model needs their tokens (timecost.budget). None: "
            "prompts stay as they are."
        },
    )
    budget_inf_share: float = field(
        default=0.25, metadata={"help": "With budgets: share of groups that are asked for no bound."}
    )
    budget_prior: list[float] | None = field(
        default=None,
        metadata={"help": "With budgets: a weight for each, by which groups are asked for it. None: all alike."},
    )
    budget_curriculum_fraction: float | None = field(
        default=None,
        metadata={
            "help": "With budgets: fraction of training over which the rungs open one by one, the largest first. "
            "None: all from the start."
        },
    )
    bounded_time_elasticity: float | None = field(
        default=None,
        metadata={
            "help": "With budgets: the elasticity of groups that are asked for a bound, which is a price of time in "
            "itself. None: time_elasticity."
        },
    )
    efforts: dict | None = field(
        default=None,
        metadata={
            "help": "Names of efforts and their elasticities, such as {low: 0.2, medium: 0.05, high: 0}: each group of "
            "completions is asked for one, and its elasticity holds instead of time_elasticity. None: no efforts."
        },
    )
    enforce_budgets: bool = field(
        default=False,
        metadata={
            "help": "With budgets: close the thinking of roll-outs at their budget, where an overrun would else be "
            "wrong; the forced token gets no gradient. Not with vLLM or continuous batching."
        },
    )
    value_head: bool = field(
        default=False,
        metadata={
            "help": "Fit a value head beside the policy, on probes of some of its roll-outs, and save it with the "
            "model (timecost.value.joint). For tasks with exact answers; else use `timecost fit-value` after training."
        },
    )
    value_probe_share: float = field(
        default=0.125, metadata={"help": "With value_head: share of the completions of a step that are probed."}
    )
    value_baseline: bool = field(
        default=False,
        metadata={
            "help": "With value_head: advantages per token, less what the head came to expect along the thought "
            "(timecost.value.baseline). One process; costs a forward of the completions without a gradient."
        },
    )
    scale_rewards: str = field(default="none", metadata={"help": "See GRPOConfig; anything but 'none' warns."})
    loss_type: str = field(default="dr_grpo", metadata={"help": "See GRPOConfig; 'grpo' and 'sapo' are refused."})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Off, so that a NaN loss is seen."})

    def __post_init__(self):
        super().__post_init__()
        if self.objective not in REGISTRY:
            raise UserError(f"unknown objective {self.objective!r}: one of {', '.join(REGISTRY)}")
        if isinstance(self.objective_kwargs, str):
            raise UserError("objective_kwargs must be a mapping, such as {price: 0.001}")
        if self.objective == "levin" and "time_elasticity" in self.objective_kwargs:  # one place for it
            self.objective_kwargs = dict(self.objective_kwargs)
            self.time_elasticity = self.objective_kwargs.pop("time_elasticity")
        self._check_objective()
        if self.price_schedule != "constant" and self.objective not in STRENGTH:
            raise UserError(
                f"price_schedule {self.price_schedule!r} has no price to move in objective {self.objective}: "
                f"it works with {', '.join(STRENGTH)}"
            )
        self.price_control()
        if self.restore_callback_states_from_checkpoint:
            raise UserError("restore_callback_states_from_checkpoint is not supported: --resume restores what is kept")
        if self.prompt_cost <= 0:
            raise UserError(f"prompt_cost={self.prompt_cost} must be positive: the log of a cost is taken")
        if self.efforts is not None:
            self.efforts = check_efforts(self.efforts)
            if self.objective not in ("levin", "effort"):
                raise UserError(
                    f"efforts are elasticities of objective levin or ratios of objective effort, not for "
                    f"{self.objective}"
                )
        if self.budgets is not None:
            self.budgets = list(check_rungs(self.budgets))
            bounds = not self.objective.startswith("lcpo")  # to which a budget is a target
            if bounds and max(self.budgets) >= (self.max_completion_length or math.inf):
                warnings.warn(
                    f"no thought can overrun a budget of {max(self.budgets)} within max_completion_length "
                    f"{self.max_completion_length}: leave it out, or raise max_completion_length",
                    stacklevel=3,
                )
        if self.enforce_budgets and (not self.budgets or self.use_vllm or self.use_transformers_continuous_batching):
            raise UserError(
                "enforce_budgets needs budgets, and roll-outs by transformers' generate without continuous "
                "batching or vLLM"
            )
        if self.budget_prior is not None and (
            len(self.budget_prior) != len(self.budgets or ())
            or min(self.budget_prior) < 0
            or not sum(self.budget_prior)
        ):
            raise UserError(
                f"budget_prior must hold a weight of at least 0 for each of the budgets: {self.budget_prior}"
            )
        if self.budget_curriculum_fraction is not None:
            if not self.budgets or not 0 < self.budget_curriculum_fraction <= 1:
                raise UserError("budget_curriculum_fraction needs budgets, and must lie in (0, 1]")
            if self.budget_prior and not self.budget_prior[-1]:
                raise UserError("budget_curriculum_fraction starts at the largest budget, which budget_prior rules out")
        if self.bounded_time_elasticity is not None:
            if self.objective != "levin" or not self.budgets or self.efforts:
                raise UserError("bounded_time_elasticity needs objective levin and budgets, and no efforts")
            if self.bounded_time_elasticity < 0:
                raise UserError(f"bounded_time_elasticity={self.bounded_time_elasticity} must be at least 0")
        if not 0 < self.value_probe_share <= 1:
            raise UserError(f"value_probe_share={self.value_probe_share} must lie in (0, 1]")
        if self.value_head and self.mask_truncated_completions:
            raise UserError(
                "value_head does not go with mask_truncated_completions, where a thought that was cut looks empty: set "
                "that to false"
            )
        if self.value_baseline:
            self._check_value_baseline()
        if not 0 <= self.budget_inf_share <= 1:
            raise UserError(f"budget_inf_share={self.budget_inf_share} must lie in [0, 1]")
        if self.exploration_fraction is not None and not 0 < self.exploration_fraction <= 1:
            raise UserError(f"exploration_fraction={self.exploration_fraction} must lie in (0, 1]")
        if self.exploration_fraction is not None and self.use_adaptive_entropy:
            raise UserError("exploration_fraction fades entropy_coef, which use_adaptive_entropy moves: leave one out")
        if self.loss_type in ("grpo", "sapo"):
            raise UserError(
                f"loss_type={self.loss_type!r} divides each completion by its own length, a length bias that hides the "
                "price: use dr_grpo, dapo or bnpo"
            )
        if self.multi_objective_aggregation != "sum_then_normalize":
            raise UserError(
                f"multi_objective_aggregation={self.multi_objective_aggregation!r} divides by the group's standard "
                "deviation, under which the price has no meaning: use sum_then_normalize"
            )
        if self.scale_rewards not in ("none", False):
            warnings.warn(
                f"scale_rewards={self.scale_rewards!r} rescales the price by the spread of the group: a price then has "
                "no unit; 'none' keeps it",
                stacklevel=2,
            )

    def _check_value_baseline(self) -> None:
        """Raises UserError where the gradient would not be that of tokens with advantages of their own."""
        if not self.value_head:
            raise UserError("value_baseline needs a head to say what to expect: set value_head")
        if self.loss_type == "vespo" or self.off_policy_mask_threshold is not None:
            raise UserError("value_baseline gives each token an advantage: not with vespo or off_policy_mask_threshold")
        if self.importance_sampling_level != "token" or self.loss_type == "luspo":
            raise UserError(
                "value_baseline needs importance_sampling_level: token: a ratio of the whole sequence would put the "
                "baseline of later tokens on earlier ones"
            )

    def _check_objective(self) -> None:
        """Raises UserError for arguments that the objective does not take, found out on a batch of its own."""
        given = bool(self.budgets) or "budget" in self.objective_kwargs
        if self.objective.startswith("lcpo") and not given:
            raise UserError(
                f"objective {self.objective} needs a budget: set budgets, or objective_kwargs {{budget: 64}}"
            )
        if self.objective == "effort" and self.efforts and not all(self.efforts.values()):
            raise UserError("an effort of objective effort is a share of the usual length, above 0")
        ones = torch.ones(1, 2)
        try:
            objective = bind_objective(self)
            objective(ones, ones, problem_ids=["-"], step=0, max_length=1.0, update=False, **(
                {} if "budget" in self.objective_kwargs else {"budget": ones}
            ))  # fmt: skip
        except (ValueError, TypeError, RuntimeError, LookupError) as error:
            given = f"objective_kwargs {self.objective_kwargs}: " if self.objective_kwargs else ""
            raise UserError(given + " ".join(str(error).split())) from error

    def objective_arguments(self) -> dict:
        """`objective_kwargs` as numbers in the cost model's unit. Raises UserError where one is in another."""
        unit, out = unit_of(self.cost_model), dict(self.objective_kwargs)
        price = PRICES.get(self.objective)
        sizes = [name for name in SIZES if name in Objective(self.objective).own]
        if unit != "tokens":
            if self.objective.startswith("lcpo"):
                raise UserError(f"objective {self.objective} holds a budget of tokens: leave cost_model at tokens")
            if missing := [name for name in (price, *sizes) if name and name not in out and name != "cache"]:
                raise UserError(f"objective {self.objective} counts {unit} here: set {missing[0]} in objective_kwargs")
        for name in (price, *sizes):
            if name in out:
                value = out[name]
                several = isinstance(value, list | tuple)
                numbers = [in_unit(v, unit, name, per=name == price) for v in (value if several else [value])]
                out[name] = numbers if several else numbers[0]
        return out

    def price_control(self) -> PriceControl:
        """The control of the price that these settings describe. Raises UserError for what contradicts itself."""
        cost = self.max_mean_cost
        if cost is not None:
            cost = in_unit(cost, unit_of(self.cost_model), "max_mean_cost")
        # a warm-up counts batches of roll-outs: several in an optimizer step, or one for several of them
        batches_per_step = self.gradient_accumulation_steps / (self.steps_per_generation * self.num_iterations)
        return PriceControl(
            self.price_schedule, warmup_steps=math.ceil(self.price_warmup_steps * batches_per_step),
            max_accuracy_loss=self.max_accuracy_loss, max_mean_cost=cost,
            reference_accuracy=self.reference_accuracy, rate=self.price_rate,
            guard=self.collapse_guard, acts=self.objective in STRENGTH, elasticity=self.time_elasticity,
            margin=self.collapse_margin,
        )  # fmt: skip


def bind_objective(args: TimeCostConfig) -> Objective:
    """The objective that `args` names, with its arguments. UserError for one that it does not have."""
    kwargs = args.objective_arguments()
    if args.objective == "levin":
        kwargs["time_elasticity"] = args.time_elasticity
    return Objective(args.objective, **kwargs)
