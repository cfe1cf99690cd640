"""Fits a value head to probed traces: binary cross-entropy for the forecasts, fitted returns for the closed loop."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from timecost.errors import UserError
from timecost.value.head import PRICES, ValueHead, ValueHeadConfig, perceptron
from timecost.value.rivals import outcome
from timecost.value.steps import StepRule
from timecost.value.stopping import StopRule, decide
from timecost.value.targets import anytime_values, hazard_targets, horizons_up_to, remaining_tokens, returns
from timecost.value.traces import ProbedTraces


@dataclass(frozen=True)
class FitConfig:
    """Optimisation of a head. `validation_share` of the problems choose the epoch and calibrate the values."""

    peek: bool = True
    width: int = 128
    num_layers: int = 2
    num_epochs: int = 16
    num_rounds: int = 4  # of backward induction, each with the policy of the one before
    batch_size: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    validation_share: float = 0.1
    seed: int = 0


def fit_value_head(
    traces: ProbedTraces,
    config: FitConfig = FitConfig(),  # noqa: B008  frozen
    *,
    step_rule: StepRule = StepRule(),  # noqa: B008
    task: str = "",
    split: str = "",
    max_thinking_tokens: int | None = None,
    prices: tuple[float, ...] = PRICES,
) -> ValueHead:
    """A head fitted to probed traces; the problems, not the points, are split into training and validation.

    Raises UserError where no answer could be judged.
    """
    if torch.isnan(traces.value).all():
        raise UserError("no answer could be judged, so that there is nothing to learn from: look at the verifier")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        longest = max_thinking_tokens or int(traces.num_thinking.max())
        head = ValueHead(
            ValueHeadConfig(
                hidden_size=traces.hidden.shape[1], horizons=horizons_up_to(longest), prices=prices,
                peek=config.peek, agreed=config.peek and bool((traces.answer != -1).all()), width=config.width,
                num_layers=config.num_layers, step_rule=step_rule, task=task, split=split, max_thinking_tokens=longest,
            )
        )  # fmt: skip
        held_out = split_problems(traces, config.validation_share, config.seed)
        for own in [head, head.blind] if config.peek else [head]:
            standardise(own, traces)
            set_bin_tokens(own, traces)
            fit_open(own, traces, held_out, config)
            fit_closed(own, traces, held_out, config)
        head.eval()
        if config.peek:
            choose_peek(head, traces, held_out)
    return head


def choose_peek(head: ValueHead, traces: ProbedTraces, held_out: Tensor) -> None:
    """Set the highest price at which the head that looks, and pays for it, is worth more than the blind one."""
    of_traces = torch.zeros(len(traces.problem), dtype=torch.bool)
    of_traces[traces.trace[held_out]] = True
    traces = traces.select(of_traces) if held_out.any() else traces
    pays = [0.0]
    for price in head.config.prices:
        net = []
        for own in (head, head.blind):
            decision = decide(own, own.forecast(traces), traces.position, StopRule(price))
            value, tokens = outcome(traces, decision, float(own.config.peek))
            net.append((value - price * tokens).nanmean())
        if net[0] > net[1]:
            pays.append(price)
    head.config = replace(head.config, peek_up_to=max(pays))


def split_problems(traces: ProbedTraces, share: float, seed: int) -> Tensor:
    """Whether each point (N,) is of one of the problems drawn, a share of all."""
    problems = traces.problem.unique()
    generator = torch.Generator().manual_seed(seed)
    drawn = problems[torch.randperm(len(problems), generator=generator)[: round(share * len(problems))]]
    return torch.isin(traces.problem, drawn)[traces.trace]


@torch.no_grad()
def standardise(head: ValueHead, traces: ProbedTraces) -> None:
    features = head.inputs_of(traces)
    features = features[~torch.isnan(features).any(1)]
    head.mean.copy_(features.mean(0))
    spread = features.std(0, correction=0)
    head.std.copy_(torch.where(spread > 1e-3, spread, 1.0))  # what never varied says nothing, and may vary later


@torch.no_grad()
def set_bin_tokens(head: ValueHead, traces: ProbedTraces) -> None:
    """Mean of the remaining tokens between neighbouring horizons, where traces have ended there."""
    remaining, censored = remaining_tokens(traces)
    edges = [-1, *head.config.horizons, 1 << 62]
    for k, (low, high) in enumerate(zip(edges, edges[1:], strict=False)):
        inside = remaining[(remaining > low) & (remaining <= high) & ~censored]
        if len(inside):
            head.bin_tokens[k] = inside.float().mean()


def open_loss(head: ValueHead, inputs: Tensor, values: Tensor, ended: Tensor, at_risk: Tensor) -> Tensor:
    """Mean binary cross-entropy of the known values (B, K + 1), NaN unknown, and of the hazards (B, K) at risk."""
    logits, hazards = head.logits(inputs)
    known = ~torch.isnan(values)
    values = F.binary_cross_entropy_with_logits(logits[known], values[known].clamp(0, 1))
    hazards = F.binary_cross_entropy_with_logits(hazards[at_risk], ended[at_risk]) if at_risk.any() else 0.0
    return values + hazards


def fit_open(head: ValueHead, traces: ProbedTraces, held_out: Tensor, config: FitConfig) -> None:
    values = anytime_values(traces, head.config.horizons)
    ended, at_risk = hazard_targets(*remaining_tokens(traces), head.config.horizons)
    inputs = head.inputs_of(traces)

    def loss(rows):
        return open_loss(head, inputs[rows], values[rows], ended[rows], at_risk[rows])

    known = ~torch.isnan(inputs).any(1)  # a boundary without a probe was not peeked at
    judged = known & ~torch.isnan(values).all(1)
    optimise(head.open, loss, judged & ~held_out, judged & held_out, config)
    if (judged & held_out).any():
        calibrate_logits(head, inputs[known & held_out], values[known & held_out])


def calibrate_logits(head: ValueHead, inputs: Tensor, values: Tensor) -> None:
    """Scale and shift of the logits of each horizon (Platt), on problems that the weights were not fitted to."""
    with torch.no_grad():
        logits, _ = head.logits(inputs)
    known = ~torch.isnan(values)
    scale, shift = (torch.full((values.shape[1],), x, requires_grad=True) for x in (1.0, 0.0))
    optimiser = torch.optim.LBFGS([scale, shift], max_iter=100)

    def closure():
        optimiser.zero_grad()
        fitted = logits * scale + shift
        loss = F.binary_cross_entropy_with_logits(fitted[known], values[known].clamp(0, 1), reduction="sum")
        loss = loss / len(values) + 1e-3 * ((scale - 1) ** 2 + shift**2).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        head.shift.copy_(head.shift * scale + shift)
        head.scale.mul_(scale)


def fit_closed(head: ValueHead, traces: ProbedTraces, held_out: Tensor, config: FitConfig) -> None:
    """Gains of going on at each price by fitted backward induction (Longstaff & Schwartz 2001), cross-fitted.

    The problems form two halves. Targets of one half follow the decisions of the network of the other, so that no
    network decides on the traces whose luck it has learned. The gain, not the value, is fitted: how hard the problem
    is falls out of the difference.
    """
    inputs = head.inputs_of(traces)
    prices = torch.tensor(head.config.prices)
    now = head.forecast(traces).value[:, 0]
    now = torch.where(torch.isnan(traces.value), now, traces.value.float())
    known = ~torch.isnan(inputs).any(1)
    look = float(head.config.peek)
    first = split_problems(traces, 0.5, config.seed + 1)
    halves = [first, ~first]
    width, num_layers = head.config.width, head.config.num_layers
    networks = [perceptron(inputs.shape[1], width, num_layers, len(prices)) for _ in halves]
    stop = torch.zeros(len(traces), len(prices), dtype=torch.bool)
    per_round = max(1, config.num_epochs // config.num_rounds)
    for _ in range(config.num_rounds):
        gain = net_gain(traces, stop, prices, now, look)
        for k, half in enumerate(halves):
            loss, own = squared_error(networks[k], inputs, gain), half & ~held_out & known
            optimise(networks[k], loss, own, held_out & known, config, per_round)
        with torch.no_grad():
            for k, half in enumerate(halves):
                stop[half] = networks[1 - k](inputs[half]) <= 0
    gain = net_gain(traces, stop, prices, now, look)
    optimise(head.closed, squared_error(head.closed, inputs, gain), known & ~held_out, known & held_out, config)


def net_gain(traces: ProbedTraces, stop: Tensor, prices: Tensor, now: Tensor, look: float = 0.0) -> Tensor:
    """Net return of going on less the value `now` of stopping, (N, J)."""
    reward, tokens = returns(traces, stop, prices, now, look)
    return reward - prices * tokens - now[:, None]


def squared_error(network, inputs: Tensor, gain: Tensor):
    """Loss over rows; each price weighs as the spread of its targets allows, so that a high one does not rule."""
    known = ~torch.isnan(gain)
    weight = 1 / torch.stack([column[~torch.isnan(column)].var() for column in gain.T]).clamp_min(1e-4)

    def loss(rows):
        error = (network(inputs[rows]) - gain[rows].nan_to_num()) ** 2 * weight * known[rows]
        return error.sum() / known[rows].sum().clamp_min(1)

    return loss


def optimise(
    network, loss, train: Tensor, validation: Tensor, config: FitConfig, num_epochs: int | None = None
) -> None:
    """AdamW with a one-cycle rate on the points `train` (N,); keeps the epoch with the least loss on `validation`."""
    num_epochs = num_epochs or config.num_epochs
    rows, validation = train.nonzero()[:, 0], validation.nonzero()[:, 0]
    if not len(rows):
        raise UserError("too few problems with a known value to fit the head to: give it more problems")
    num_steps = num_epochs * -(-len(rows) // config.batch_size)
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=num_steps + 1)
    best, best_state = float("inf"), None
    for _ in range(num_epochs):
        network.train()
        for batch in rows[torch.randperm(len(rows))].split(config.batch_size):
            optimiser.zero_grad()
            loss(batch).backward()
            optimiser.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            error = float(loss(validation)) if len(validation) else -1.0
        if error <= best:
            best, best_state = error, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    if best_state is None:
        raise UserError("the head did not learn, its loss was never a number: could the verifier judge the answers?")
    network.load_state_dict(best_state)
