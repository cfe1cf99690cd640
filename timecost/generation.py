"""Generation within a budget of thinking: the prompt asks for it, a guard holds it, the reply says what was used.

`enforce` says what is promised. none: the prompt asks, nothing more. soft: thinking that overruns gets a quarter of
its budget to wrap up and is then closed. hard: at the bound the end-of-thinking token is forced and the answer
follows, always. The answer has a reserve of its own, so thinking never eats it.
"""

import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from numbers import Integral

from timecost.budget import ladder_of, round_down, with_budget
from timecost.cost import TokenCost, split_tokens
from timecost.effort import efforts_of, with_effort
from timecost.errors import UserError
from timecost.forcing import BudgetGuard
from timecost.prompt_tokens import leaves_open, single_id

ENFORCE = ("none", "soft", "hard")
GRACE = 0.25  # of the budget, to wrap up in


@dataclass(frozen=True)
class Reply:
    """What came back for one prompt. Counts are in tokens; `</think>` and the end of sequence belong to the answer."""

    thinking: str
    answer: str
    thinking_tokens: int
    answer_tokens: int
    budget: int | None  # as asked for; None: no bound
    rung: int | None  # as the prompt says it
    enforce: str
    overshoot: int  # thinking tokens beyond the budget
    stop_cause: str  # natural | value | declined | budget (closed at its bound) | length (cut off by another limit)
    cost: float  # of the prompt, the tokens and the looks of a value head, each of which counts as a thinking token
    unit: str = "tokens"  # of the cost
    looks: int = 0  # closing tokens that a value head looked at
    completion_ids: tuple[int, ...] = ()

    def to_json(self) -> dict:
        """The fields without the token ids."""
        fields = asdict(self)
        del fields["completion_ids"]
        return fields


def generate(
    model,
    tokenizer,
    prompts: list,
    budgets: list[int | None],
    *,
    effort: str | None = None,
    enforce: str = "hard",
    condition: bool = True,
    max_answer_tokens: int | None = None,
    max_thinking_tokens: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    num_beams: int = 1,
    think_start: str = "<think>",
    think_end: str = "</think>",
    streamer=None,
    value_head=None,
    stop_rule=None,
    clip: bool = True,
    cost_model=TokenCost(),  # noqa: B008  frozen
) -> list[Reply]:
    """One reply for each prompt (text, or messages) within its budget of thinking tokens: one batch.

    A budget is rounded down to the model's ladder where the prompt says it, and bounds the thinking as it was asked. 0
    answers without thinking; None knows no bound but `max_thinking_tokens` (default: what the context has room for).
    With `condition=False` the prompt says nothing, for a model without budget tokens. `max_answer_tokens` is the
    reserve between the end of thinking and the end of sequence (default: 512, or a quarter of a short context). Without
    a budget or a head, a model whose prompt opens no thinking may answer without any, unbounded until it begins. With a
    `value_head` (timecost.value.head) its `stop_rule` may stop or decline earlier than the budget, at no higher price
    than calibration found safe unless `clip=False`, and thinking without a budget has the limit that the head was
    fitted with. `cost_model` tells what each reply cost, in its unit (default: tokens, with one for reading the
    prompt). `effort` is the name of one that the model was trained on. Temperature 0 takes the likeliest token; top-p
    and other settings in the model's generation_config.json are not used. Raises UserError for what contradicts itself,
    a budget below the ladder, a context that is too short, and a model or tokenizer without the tokens.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    from timecost.value.stopping import ValueGuard, held_safe

    if isinstance(prompts, str) or len(prompts) != len(budgets):
        raise UserError("prompts and budgets are two lists of one length: a budget, or None, for each prompt")
    check_options(enforce, condition, budgets, max_answer_tokens, temperature)
    if not prompts:
        return []
    think_end_id = single_id(tokenizer, think_end)
    if think_end_id is None:
        raise UserError(f"the tokenizer has no token {think_end!r}: name the one that ends the thinking")
    asked = any(budgets) and condition
    ladder = ladder_of(model.config, tokenizer) if asked else ()
    rungs = [round_down(budget, ladder) if condition else None for budget in budgets]
    if effort is not None:
        efforts = efforts_of(model.config, tokenizer)
        prompts = [with_effort(prompt, effort, efforts) for prompt in prompts]
    encoded = [
        encode(tokenizer, prompt, rung if condition and rung else None, budget == 0, think_start, think_end)
        for prompt, rung, budget in zip(prompts, rungs, budgets, strict=True)
    ]
    lengths = list(map(len, encoded))
    width = max(lengths)
    eos_ids = end_ids(model, tokenizer)
    pad_id = eos_ids[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    input_ids = torch.full((len(encoded), width), pad_id)
    mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(encoded):
        input_ids[row, width - len(ids) :] = torch.tensor(ids)
        mask[row, width - len(ids) :] = 1

    held = {"none": None, "soft": 1 + GRACE, "hard": 1.0}[enforce]
    max_answer_tokens, room = room_in_context(model.config, width, max_answer_tokens)
    unbounded = room if max_thinking_tokens is None else min(room, max_thinking_tokens)
    bounds = [unbounded if not b or held is None else int(b * held) for b in budgets]
    if value_head is not None and max_thinking_tokens is None and (known := value_head.config.max_thinking_tokens):
        bounds = [min(bound, known) if b is None else bound for bound, b in zip(bounds, budgets, strict=True)]
    if (longest := max([*bounds, *(1 for budget in budgets if budget is None), 0])) > room:
        raise UserError(
            f"the context of the model is too short for a prompt of {width} tokens, {longest} of thinking and "
            f"{max_answer_tokens} of answer: lower --budget or --max_answer_tokens"
        )
    closed = [budget == 0 for budget in budgets]
    reopen = [i for i in [single_id(tokenizer, think_start)] if i is not None]
    told = value_head is None and bool(reopen)  # where a thought begins, and no head would follow it
    optional = [
        told and budget is None and not leaves_open(tokenizer, prompt, think_start, think_end)
        for prompt, budget in zip(prompts, budgets, strict=True)
    ]
    guard = BudgetGuard(bounds, closed, width, think_end_id, eos_ids, reopen, max_answer_tokens, optional)
    config = GenerationConfig(
        max_new_tokens=max(0 if c else b + 1 for b, c in zip(bounds, closed, strict=True)) + max_answer_tokens + 1,
        num_beams=num_beams, pad_token_id=pad_id, eos_token_id=eos_ids,
        **({"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {"do_sample": False}),
    )  # fmt: skip
    devices = [model.device] if model.device.type == "cuda" else []
    decider = nullcontext()
    processors = LogitsProcessorList([guard])
    if value_head is not None:
        if num_beams > 1:
            raise UserError("a value head follows one line of thought: leave num_beams at 1")
        if clip:
            stop_rule, said = held_safe(value_head, stop_rule, mark="")
            for line in said:
                warnings.warn(line, stacklevel=2)
        decider = ValueGuard(model, value_head, stop_rule, closed, width, think_end_id, eos_ids, lengths)
        processors.append(decider)
    with decider, plain_sampling(model), torch.random.fork_rng(devices), torch.inference_mode():
        torch.manual_seed(seed)
        output = model.generate(
            input_ids=input_ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config,
            logits_processor=processors, streamer=streamer,
        )  # fmt: skip
    rows = zip(output[:, width:].tolist(), budgets, rungs, bounds, optional, strict=True)
    replies = [
        read_reply(
            tokenizer, ids, budget, rung, bound, enforce, think_end_id, eos_ids, max_answer_tokens,
            without_thinking=budget == 0 or (may and not {think_end_id, *reopen} & set(ids)),
        )
        for ids, budget, rung, bound, may in rows
    ]  # fmt: skip
    causes = [None] * len(prompts) if value_head is None else decider.causes
    looks = [0] * len(prompts) if value_head is None else decider.looks.tolist()
    return [
        replace(
            reply, stop_cause=cause if cause and reply.stop_cause != "length" else reply.stop_cause, looks=looked,
            cost=float(cost_model(length, reply.thinking_tokens + looked, reply.answer_tokens)), unit=cost_model.unit,
        )
        for reply, cause, looked, length in zip(replies, causes, looks, lengths, strict=True)
    ]  # fmt: skip


def room_in_context(config, prompt_length: int, max_answer_tokens: int | None) -> tuple[int, int]:
    """The reserve of the answer, and the thinking tokens that fit between it and the prompt, below 0 where not even
    the answer fits."""
    context = getattr(config, "max_position_embeddings", None) or 32768
    if max_answer_tokens is None:
        max_answer_tokens = min(512, context // 4)
    return max_answer_tokens, context - prompt_length - 2 - max_answer_tokens


def check_options(
    enforce: str, condition: bool, budgets: list[int | None], max_answer_tokens: int | None, temperature: float
) -> None:
    """Raises UserError for options that are wrong or contradict each other."""
    for budget in budgets:
        whole = isinstance(budget, Integral) and not isinstance(budget, bool)
        if budget is not None and not (whole and budget >= 0):
            raise UserError(f"a budget is a whole number of tokens, at least 0, or None for no bound, not {budget!r}")
    if temperature < 0:
        raise UserError(f"temperature is {temperature}: it must be at least 0, the likeliest token")
    if enforce not in ENFORCE:
        raise UserError(f"enforce is one of {', '.join(ENFORCE)}, not '{enforce}'")
    if max_answer_tokens is not None and max_answer_tokens < 1:
        raise UserError(f"max_answer_tokens is {max_answer_tokens}: the answer needs a reserve of at least one token")
    if not condition and enforce == "none" and any(budget is not None for budget in budgets):
        raise UserError("a budget that is neither said in the prompt nor enforced is no budget: use --enforce hard")


def encode(tokenizer, prompt, rung: int | None, without_thinking: bool, think_start: str, think_end: str) -> list[int]:
    """Token ids of a prompt that asks for a rung, or that closes the thinking itself."""
    if rung is not None:
        prompt = with_budget(prompt, rung)
    if isinstance(prompt, str):
        text, options = prompt, {}
    else:
        switch = {"enable_thinking": False} if without_thinking else {}  # of Qwen3's template; others ignore it
        text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True, **switch)
        options = {"add_special_tokens": False}
    if without_thinking and think_end not in text[-50:]:
        text += think_end if text.rstrip().endswith(think_start) else think_start + think_end
    return tokenizer(text, **options)["input_ids"]


def read_reply(
    tokenizer, ids, budget, rung, bound, enforce, think_end_id, eos_ids, max_answer_tokens, without_thinking: bool
) -> Reply:
    """A row of generated ids, cut behind its end of sequence, as a reply."""
    ends = [i for i, token in enumerate(ids) if token in eos_ids]
    ids = ids[: ends[0] + 1] if ends else ids
    thinking, answer = (0, len(ids)) if without_thinking else split_tokens(ids, think_end_id)
    behind = ids if without_thinking else ids[thinking + 1 :]
    cut = not ends or (len(behind) > max_answer_tokens and (budget == 0 or not without_thinking))
    closed = not without_thinking and thinking >= bound
    bounded = budget is not None and enforce != "none"
    return Reply(
        thinking=tokenizer.decode(ids[:thinking], skip_special_tokens=True),
        answer=tokenizer.decode(behind, skip_special_tokens=True).strip(),
        thinking_tokens=thinking,
        answer_tokens=answer,
        budget=budget,
        rung=rung,
        enforce=enforce,
        overshoot=max(0, thinking - budget) if budget is not None else 0,
        stop_cause="length" if cut or (closed and not bounded) else "budget" if closed else "natural",
        cost=thinking + answer + 1.0,
        completion_ids=tuple(ids),
    )


@contextmanager
def plain_sampling(model):
    """Nothing but what the call says shapes the distribution: `generate` would fill in top-p, a penalty for repetition
    and the like from the model's generation_config.json."""
    from transformers import GenerationConfig

    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def end_ids(model, tokenizer) -> list[int]:
    """Token ids that end a reply: the tokenizer's first, and those that the model's generation config adds."""
    ids = model.generation_config.eos_token_id
    ids = [tokenizer.eos_token_id, *(ids if isinstance(ids, list) else [ids])]
    return list(dict.fromkeys(i for i in ids if i is not None))
