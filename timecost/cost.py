"""The cost of time: what a completion used, in tokens, flops, seconds or US dollars.

A completion is split at its end-of-thinking token, because a budget bounds the thinking and a price must see both:
were the answer free, thinking would move into it. Lengths are counted in token ids, never in characters. A cost model
turns (prompt, thinking, answer) tokens into a cost > 0 in its unit; numbers, numpy arrays and tensors will do. Training
never looks at a clock: seconds come from a model that `timecost fit-cost` has fitted.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from timecost.errors import UserError, nearest

UNITS = ("tokens", "flops", "seconds", "usd")
ALIASES = {"token": "tokens", "flop": "flops", "second": "seconds", "s": "seconds", "dollar": "usd", "dollars": "usd"}


def split_tokens(completion_ids: list[int], think_end_id: int) -> tuple[int, int]:
    """Number of thinking tokens and of answer tokens of one completion.

    The end-of-thinking token and the end of sequence belong to the answer, so an answer without thought is (0, n).
    Thinking that never closes holds no answer: (n, 0).
    """
    try:
        num_thinking = completion_ids.index(think_end_id)
    except ValueError:
        num_thinking = len(completion_ids)
    return num_thinking, len(completion_ids) - num_thinking


def token_cost(num_thinking: int, num_answer: int, prompt_cost: float) -> float:
    """Cost T > 0 of one completion in tokens: thinking + answer + a fixed term for reading the prompt."""
    return num_thinking + num_answer + prompt_cost


# Cost models ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenCost:
    """thinking + answer + a fixed term for the prompt, however long it is."""

    prompt_cost: float = 1.0
    unit: str = "tokens"
    needs_prompt: bool = False

    def __call__(self, prompt, thinking, answer):
        return token_cost(thinking, answer, self.prompt_cost)


@dataclass(frozen=True)
class FlopCost:
    """Floating-point operations of one completion with a cache of keys and values.

    Twice the weights for each token, and for each layer 4 · `attention_width` for each token attended to: products of
    query and key, and of weight and value. `context` bounds how many those are (None: all so far, as in a transformer;
    B'MOJO: window + fading window + eidetic memory) in all layers but `full_layers`, and `state` is the work of a
    state-space model for each token and layer. `body` are the weights that every token passes, `head` those of the
    output layer, which the prompt does not.
    """

    body: int
    head: int
    layers: int
    attention_width: int
    context: int | None = None
    state: int = 0
    full_layers: int = 0
    unit: str = "flops"
    needs_prompt: bool = True

    def __call__(self, prompt, thinking, answer):
        total, decoded = prompt + thinking + answer, thinking + answer
        seen = (self.layers - self.full_layers) * sum_of_contexts(total, self.context)
        seen = seen + self.full_layers * sum_of_contexts(total, None)
        attended = 4 * self.attention_width * seen
        return 2 * self.body * total + 2 * self.head * decoded + attended + self.layers * self.state * total


def sum_of_contexts(length, context: int | None):
    """Tokens attended to, summed over positions 1 to `length`, each seeing at most `context` (None: no bound)."""
    if context is None:
        return length * (length + 1) / 2
    seen = (length + context - abs(length - context)) / 2  # the smaller of the two, for numbers, arrays and tensors
    return seen * (seen + 1) / 2 + (length - seen) * context


def flop_cost(config) -> FlopCost:
    """The flops of a model from its config: of Llama's family, with or without a sliding window, or B'MOJO.

    Experts, where there are some, count as often as they are used, in every layer. Raises UserError for a config
    without the sizes, and for layers of another kind than full and sliding attention.
    """
    try:
        hidden, layers, heads = config.hidden_size, config.num_hidden_layers, config.num_attention_heads
        inner, vocabulary = config.intermediate_size, config.vocab_size
    except AttributeError as error:
        raise UserError(f"flops need the sizes of the model, and its config has none ({error}): count tokens") from None
    head_dim = getattr(config, "head_dim", None) or hidden // heads
    keys = (getattr(config, "num_key_value_heads", None) or heads) * head_dim
    queries = heads * head_dim
    experts = getattr(config, "num_experts_per_tok", None) or 1
    if experts > 1:
        inner = getattr(config, "moe_intermediate_size", None) or inner
    layer = hidden * (2 * queries + 2 * keys) + 3 * hidden * inner * experts
    context, state = getattr(config, "sliding_window", None), 0
    if getattr(config, "use_sliding_window", True) is False:
        context = None
    kinds = [] if config.model_type == "bmojo" else getattr(config, "layer_types", None) or []
    if unknown := set(kinds) - {"full_attention", "sliding_attention"}:
        raise UserError(f"flops of layers of the kind {min(unknown)} are not known: count tokens")
    full_layers = kinds.count("full_attention") if context else 0
    if config.model_type == "bmojo" and config.has_ssm:
        size, states = config.ssm_num_heads * config.ssm_head_dim, config.ssm_n_groups * config.ssm_state_size
        layer += hidden * (2 * size + 2 * states + config.ssm_num_heads) + size * hidden
        if config.fading_window:  # keys and values of the SSM's outputs
            layer += 2 * hidden * keys
        context += config.fading_window + config.eidetic_size
        state = 6 * size * config.ssm_state_size  # decay, outer product, sum, read-out
    return FlopCost(layers * layer, hidden * vocabulary, layers, queries, context, state, full_layers)


@dataclass(frozen=True)
class SecondsCost:
    """a + b · prompt + c · decoded + d · decoded · (prompt + decoded/2), seconds; fitted by `timecost fit-cost`.

    The last factor is the mean context of a decoded token. `batch_size` completions were decoded together, and the
    seconds are those until all of them ended. `hardware` and `r_squared` say where and how well it was fitted.
    """

    a: float
    b: float
    c: float
    d: float
    batch_size: int = 1
    hardware: str = ""
    r_squared: float | None = None
    unit: str = "seconds"
    needs_prompt: bool = True

    def __call__(self, prompt, thinking, answer):
        decoded = thinking + answer
        return self.a + self.b * prompt + self.c * decoded + self.d * decoded * (prompt + decoded / 2)


@dataclass(frozen=True)
class UsdCost:
    """US dollars: a price for each million tokens read and written, or for each hour of a machine (with `seconds`)."""

    per_million_input: float = 0.0
    per_million_output: float = 0.0
    per_hour: float = 0.0
    seconds: SecondsCost | None = field(default=None)
    unit: str = "usd"
    needs_prompt: bool = True

    def __call__(self, prompt, thinking, answer):
        tokens = (self.per_million_input * prompt + self.per_million_output * (thinking + answer)) / 1e6
        if self.seconds is None:
            return tokens
        return tokens + self.per_hour / 3600 * self.seconds(prompt, thinking, answer) / self.seconds.batch_size


CostModel = TokenCost | FlopCost | SecondsCost | UsdCost


def marginal_cost(model: CostModel, prompt, thinking):
    """What one more thinking token costs behind a prompt and thinking of so many tokens, in the model's unit.

    The growing context is in it: the same token costs more further on.
    """
    return model(prompt, thinking + 1, 0) - model(prompt, thinking, 0)


def load_cost_model(name: str, config=None, prompt_cost: float = 1.0) -> CostModel:
    """`tokens`, `flops` (of the model that `config` describes), or the path of a JSON file.

    The file is what `timecost fit-cost` writes (unit seconds), or {"unit": "usd", "per_million_input": 0.5,
    "per_million_output": 2}, or {"unit": "usd", "per_hour": 2.5, "seconds": "cost.json"}. Raises UserError.
    """
    if name == "tokens":
        return TokenCost(prompt_cost)
    if name == "flops":
        if config is None:
            raise UserError("cost model 'flops' needs a model, whose config tells its size")
        return flop_cost(config)
    content = _read(name)
    return _from_json(content, name)


def unit_of(name: str) -> str:
    """The unit of a cost model by its name. Raises UserError as `load_cost_model` does."""
    return name if name in ("tokens", "flops") else load_cost_model(name).unit


def _read(name: str) -> dict:
    if name in UNITS:
        raise UserError(
            f"cost model '{name}' needs a file: fit seconds with `timecost fit-cost --output_path cost.json` and name "
            'it, or write {"unit": "usd", "per_million_input": ..., "per_million_output": ...}'
        )
    if not name.endswith(".json"):
        raise UserError(f"unknown cost model '{name}'{nearest(name, UNITS)}: tokens, flops, or the path of a JSON file")
    try:
        content = json.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read cost model {name}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"cost model {name} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("unit") not in ("seconds", "usd"):
        raise UserError(f'cost model {name} must hold {{"unit": "seconds" or "usd", ...}}')
    return content


def _from_json(content: dict, name: str) -> SecondsCost | UsdCost:
    try:
        if content["unit"] == "seconds":
            numbers = {key: float(content[key]) for key in "abcd"}
            if min(numbers.values()) < 0 or numbers["a"] + numbers["c"] <= 0:
                raise UserError(f"cost model {name}: coefficients must not be negative, and a + c be positive")
            return SecondsCost(
                **numbers, batch_size=int(content.get("batch_size", 1)), hardware=str(content.get("hardware", "")),
                r_squared=content.get("r_squared"),
            )  # fmt: skip
        prices = {key: float(content.get(key, 0)) for key in ("per_million_input", "per_million_output", "per_hour")}
        if min(prices.values()) < 0 or not (prices["per_million_output"] or prices["per_hour"]):
            raise UserError(f"cost model {name}: usd needs a positive per_million_output or per_hour")
        seconds = content.get("seconds")
        if (prices["per_hour"] > 0) != (seconds is not None):
            raise UserError(f"cost model {name}: per_hour and seconds, the file of fit-cost, go together")
        if isinstance(seconds, str):
            seconds = _read(str(Path(name).parent / seconds))
        return UsdCost(**prices, seconds=None if seconds is None else _from_json(seconds, name))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cost model {name} is not complete: {type(error).__name__} {error}") from error


# Units ----------------------------------------------------------------------------------------------------------------


def in_unit(quantity: float | str, unit: str, name: str, *, per: bool = False) -> float:
    """A quantity as a number in `unit`: `200`, `"200 tokens"`, `"0.5 seconds"`; a price with `per`: `"0.1/second"`.

    A bare number is in tokens. `name` is what it is called in the message. Raises UserError for another unit than the
    cost model's, since a price per token says nothing about seconds.
    """
    match = re.fullmatch(r"\s*([-+.\deE]+?)\s*(/|per\b|)\s*([A-Za-z]*)\s*", str(quantity))
    try:
        number = float(match[1])
    except (TypeError, ValueError):
        raise UserError(f"{name}={quantity!r} is not a quantity, such as {_example(unit, per)}") from None
    given = ALIASES.get(match[3].lower(), match[3].lower()) or "tokens"
    if given not in UNITS or (bool(match[3]) and bool(match[2]) != per):
        raise UserError(f"{name}={quantity!r} is not a quantity, such as {_example(unit, per)}")
    if given != unit:
        raise UserError(
            f"{name}={quantity!r} is in {given}, but the cost model counts {unit}: give it in {unit}, in the form "
            f"{_example(unit, per)}, or choose the cost model of its unit"
        )
    return number


def singular(unit: str) -> str:
    return unit[:-1] if unit.endswith("s") else unit


def _example(unit: str, per: bool) -> str:
    return f"'0.1/{singular(unit)}'" if per else f"'20 {unit}'"
