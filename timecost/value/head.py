"""The value head: from the hidden state at a step boundary, what more thinking would buy.

Open loop: the chance of a right answer after each horizon of more tokens, and how many tokens remain. Closed loop: the
gain of going on over stopping now, at each of a few prices, when later boundaries may still stop. The head lies beside
its model as value_head.safetensors and value_head.json; the model's own files stay what they are.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from timecost.errors import UserError
from timecost.value.novelty import Novelty
from timecost.value.states import backbone_of
from timecost.value.steps import StepRule
from timecost.value.traces import ProbedTraces

WEIGHTS, CONFIG = "value_head.safetensors", "value_head.json"
PRICES = (0.0, *(10 ** (-4 + k / 4) for k in range(13)))  # per thinking token: 0, and 0.0001 to 0.1


@dataclass(frozen=True)
class ValueHeadConfig:
    """Shape of a head, and what it was fitted and calibrated on. Horizons in tokens, prices per thinking token."""

    hidden_size: int
    horizons: tuple[int, ...]
    prices: tuple[float, ...] = PRICES
    width: int = 256
    num_layers: int = 2
    peek: bool = False  # sees the closing token too, at the cost of one token at each boundary
    peek_up_to: float = float("inf")  # price above which the head does not look
    agreed: bool = False  # with a peek: sees how many boundaries in a row gave the same answer
    step_rule: StepRule = field(default_factory=StepRule)
    task: str = ""  # that it was fitted on
    split: str = ""  # of the task
    max_thinking_tokens: int | None = None  # of the traces that it was fitted on
    calibration: dict | None = None  # see timecost.value.calibration
    rule: str = "closed"  # the better of the two, see docs/value.md
    novelty: tuple[int, int] | None = None  # directions and usual questions of timecost.value.novelty

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict) -> "ValueHeadConfig":
        rule = fields["step_rule"]
        return cls(
            **{
                **fields,
                "horizons": tuple(fields["horizons"]),
                "prices": tuple(fields["prices"]),
                "step_rule": StepRule(tuple(rule["token_ids"]), rule["offset"], rule["every"]),
                "novelty": tuple(fields["novelty"]) if fields.get("novelty") else None,
            }
        )


class Forecast(NamedTuple):
    """What a head says of B boundaries; K horizons, J prices."""

    value: Tensor  # (B, K + 1) chance of a right answer after each horizon, and at the natural end
    tokens: Tensor  # (B, K + 1) expected thinking tokens within each horizon, and to the natural end
    gain: Tensor  # (B, J) value of going on less that of stopping, net of the price, at each price of the config


class ValueHead(nn.Module):
    """Two multi-layer perceptrons: forecasts of the open loop, gains of the closed.

    They see the hidden state of the last token and the position; and, with `peek`, the closing token as if it were
    written, in which the model commits to an answer: its state, how sure its answer is and, with `agreed`, for how many
    boundaries it has been the same. A head that peeks holds one that does not, `blind`, for prices above `peek_up_to`,
    where a look costs more than it tells.
    """

    def __init__(self, config: ValueHeadConfig):
        super().__init__()
        self.config = config
        num_inputs, num_horizons = config.hidden_size + 2, len(config.horizons)
        if config.peek:
            num_inputs += config.hidden_size + 3 + config.agreed
            self.blind = ValueHead(replace(config, peek=False, agreed=False, novelty=None))
        shape = config.width, config.num_layers
        self.open = perceptron(num_inputs, *shape, 2 * num_horizons + 1)
        self.closed = perceptron(num_inputs, *shape, len(config.prices))
        self.register_buffer("mean", torch.zeros(num_inputs))
        self.register_buffer("std", torch.ones(num_inputs))
        middle = [(a + 1 + b) / 2 for a, b in zip(config.horizons, config.horizons[1:], strict=False)]
        self.register_buffer("bin_tokens", torch.tensor([0.0, *middle, 1.5 * config.horizons[-1]]))
        self.register_buffer("scale", torch.ones(num_horizons + 1))  # of the logits of values, from calibration
        self.register_buffer("shift", torch.zeros(num_horizons + 1))

        self.novelty = Novelty(config.hidden_size, *config.novelty) if config.novelty else None

    def knows_questions(self, novelty: Novelty) -> None:
        """Take in what tells questions of a new kind from usual ones."""
        self.novelty = novelty
        self.config = replace(self.config, novelty=(len(novelty.directions), len(novelty.usual)))

    def at_price(self, price: float) -> "ValueHead":
        """The head that decides at a price: this one, or the one that does not look."""
        return self.blind if self.config.peek and price > self.config.peek_up_to else self

    def inputs(self, hidden: Tensor, position: Tensor, look: tuple[Tensor, ...] | None = None) -> Tensor:
        """Standardised features of states (B, H) at positions (B,) in thinking tokens.

        `look`, only with `peek`: the state (B, H) of the closing token; of its answer the confidence, the entropy, and
        for how many boundaries in a row it has been the same (B,).
        """
        position = position.to(hidden.device).float()[:, None]
        features = [hidden.float(), torch.log1p(position), position / 64]
        if self.config.peek:
            closing, confidence, entropy, agreed = look
            odds = torch.logit(confidence.clamp(1e-4, 1 - 1e-4))
            features += [closing.float(), torch.stack([confidence, odds, entropy], 1).float()]
            features += [agreed.float().log()[:, None]] if self.config.agreed else []
        return (torch.cat(features, 1) - self.mean) / self.std

    def inputs_of(self, traces: ProbedTraces) -> Tensor:
        look = traces.closing, traces.confidence, traces.entropy, traces.agreed
        return self.inputs(traces.hidden, traces.position, look)

    @torch.no_grad()
    def forecast(self, traces: ProbedTraces) -> Forecast:
        """Forecasts at the N boundaries of probed traces; NaN where a peek was not taken."""
        return self.outputs(self.inputs_of(traces))

    def logits(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the values (B, K + 1) and of the hazards of an end within each horizon (B, K)."""
        values, hazards = self.open(inputs).split([len(self.config.horizons) + 1, len(self.config.horizons)], 1)
        return values * self.scale + self.shift, hazards

    def forward(self, hidden: Tensor, position: Tensor, look=None) -> Forecast:
        return self.outputs(self.inputs(hidden, position, look))

    def outputs(self, inputs: Tensor) -> Forecast:
        values, hazards = self.logits(inputs)
        return Forecast(values.sigmoid(), self.expected_tokens(hazards.sigmoid()), self.closed(inputs))

    def expected_tokens(self, hazards: Tensor) -> Tensor:
        """E min(Δ, remaining) for each horizon Δ and E remaining, (B, K + 1), from hazards (B, K)."""
        survival = torch.cumprod(1 - hazards, 1)
        before = torch.cat([torch.ones_like(survival[:, :1]), survival[:, :-1]], 1)
        ended = torch.cumsum(before * hazards * self.bin_tokens[:-1], 1)
        horizons = torch.tensor(self.config.horizons, device=hazards.device)
        return torch.cat([ended + survival * horizons, ended[:, -1:] + survival[:, -1:] * self.bin_tokens[-1]], 1)


def perceptron(num_inputs: int, width: int, num_layers: int, num_outputs: int) -> nn.Sequential:
    """`num_layers` hidden layers; outputs start at 0."""
    sizes = [num_inputs, *[width] * num_layers]
    layers: list[nn.Module] = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b), nn.SiLU(), nn.Dropout(0.1)]
    last = nn.Linear(sizes[-1], num_outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def save_value_head(head: ValueHead, folder: str | Path) -> None:
    """Write value_head.safetensors and value_head.json into the folder of the head's model."""
    from safetensors.torch import save_file

    folder = Path(folder)
    save_file({name: tensor.contiguous().cpu() for name, tensor in head.state_dict().items()}, folder / WEIGHTS)
    write_config(head.config, folder)


def write_config(config: ValueHeadConfig, folder: str | Path) -> None:
    (Path(folder) / CONFIG).write_text(json.dumps(config.to_json(), indent=1) + "\n")


def has_value_head(folder: str | Path) -> bool:
    return (Path(folder) / CONFIG).is_file() and (Path(folder) / WEIGHTS).is_file()


def load_value_head(model, folder: str | Path) -> ValueHead:
    """The head that lies in `folder`, on the device of `model`. Raises UserError when there is none that fits it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not has_value_head(folder):
        raise UserError(f"'{folder}' holds no value head: fit one with `timecost fit-value --model_name_or_path DIR`")
    try:
        config = ValueHeadConfig.from_json(json.loads((Path(folder) / CONFIG).read_text()))
        head = ValueHead(config)
        head.load_state_dict(load_file(Path(folder) / WEIGHTS))
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"the value head in '{folder}' is damaged, fit it anew: {str(error)[:200]}") from error
    size = backbone_of(model).config.get_text_config().hidden_size
    if config.hidden_size != size:
        raise UserError(
            f"the value head in '{folder}' reads states of width {config.hidden_size}, the model has {size}: it "
            "belongs to another model"
        )
    return head.to(model.device).eval()
