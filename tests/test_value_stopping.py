"""The rule by hand, and the rule in generation."""

import pytest
import torch

from timecost.cost import SecondsCost, TokenCost
from timecost.errors import UserError
from timecost.generation import generate
from timecost.value.head import Forecast, ValueHead, ValueHeadConfig
from timecost.value.steps import StepRule
from timecost.value.stopping import (
    DECLINE,
    GO_ON,
    STOP,
    StopRule,
    ValueGuard,
    closed_margin,
    decide,
    first_stop,
    held_safe,
    open_margin,
    parse_price,
    price_per_token,
    rule_at,
)  # fmt: skip

PROMPTS = ["a7b-3=<think>", "a7b-3c*2d+1e-4=<think>"]
THINK_END, EOS, OTHER_EOS, PAD, DIGIT = 5, 2, 3, 0, 6


def forecast(value=(0.2, 0.5, 0.9), tokens=(0.0, 4.0, 20.0), gain=(0.7, 0.1, -0.3)) -> Forecast:
    return Forecast(torch.tensor([value]), torch.tensor([tokens]), torch.tensor([gain]))


def head(step_rule=StepRule(every=3), **fields) -> ValueHead:  # noqa: B008
    return ValueHead(ValueHeadConfig(32, (0, 4), (0.0, 0.01, 0.1), step_rule=step_rule, **fields))


@pytest.fixture(scope="module")
def loaded(tiny_arithmetic):
    from timecost.loading import load_model_to_use

    return load_model_to_use(tiny_arithmetic)


def test_below_every_price_nothing_is_stopped():
    stops = forecast(value=(0.9, 0.5, 0.2), gain=(-0.1, -0.2, -0.3))
    position = torch.tensor([3])
    assert decide(head(), stops, position, StopRule(0.0)).tolist() == [STOP], "more thinking would harm"
    assert decide(head(), stops, position, StopRule(0.0, highest=-1.0)).tolist() == [GO_ON]
    picky = StopRule(0.0, highest=-1.0, least_value=0.95)
    assert decide(head(), stops, torch.tensor([0]), picky).tolist() == [DECLINE]
    assert decide(head(), stops, position, picky).tolist() == [GO_ON], "what has begun is not declined"


def test_calibration_lowers_a_bound_and_never_raises_it():
    own, _ = held_safe(head(calibration={"task": "x", "price": 0.01}), StopRule(5.0, highest=0.001))
    assert own.highest == 0.001, "who asked for less gets less"


def test_the_open_rule_takes_the_best_horizon_at_the_price():
    assert open_margin(forecast(), 0.0).item() == pytest.approx(0.7)
    assert open_margin(forecast(), 0.03).item() == pytest.approx(0.5 - 0.12 - 0.2), "the nearer horizon by now"
    assert open_margin(forecast(), 0.1).item() < 0


def test_the_closed_rule_reads_between_its_prices():
    prices = (0.0, 0.01, 0.1)
    assert closed_margin(forecast(), 0.01, prices).item() == pytest.approx(0.1)
    assert closed_margin(forecast(), 0.055, prices).item() == pytest.approx(-0.1)
    assert closed_margin(forecast(), 5.0, prices).item() == pytest.approx(-0.3)


def test_go_on_stop_or_decline():
    start, later = torch.tensor([0]), torch.tensor([9])
    assert decide(head(), forecast(), start, StopRule(0.001)) == GO_ON
    assert decide(head(), forecast(), start, StopRule(0.1)) == STOP
    assert decide(head(), forecast(), start, StopRule(0.1, least_value=0.3)) == DECLINE
    assert decide(head(), forecast(), start, StopRule(0.0, least_value=0.8)) == GO_ON, "0.2 + 0.7 is enough"
    assert decide(head(), forecast(), later, StopRule(0.1, least_value=0.3)) == STOP, "declines at the start alone"
    assert decide(head(), forecast(), start, StopRule(0.03, rule="open")) == GO_ON


def test_what_is_novel_is_declined_before_the_first_token():
    p_value, rule = torch.tensor([0.004, 0.2, 0.004]), StopRule(0.001, decline_novel=0.005)
    three, position = Forecast(*(x.repeat(3, 1) for x in forecast())), torch.tensor([0, 0, 9])
    assert decide(head(), three, position, rule, None, p_value).tolist() == [DECLINE, GO_ON, GO_ON]


def test_a_strange_question_among_usual_ones_is_declined_in_generation(loaded):
    from timecost.value.novelty import fit_novelty, question_features

    model, tokenizer = loaded
    usual = [tokenizer(f"a{i % 10}b+{j}=<think>")["input_ids"] for i in range(10) for j in range(10)]
    own = always(GO_ON)
    own.knows_questions(fit_novelty(question_features(model, usual), torch.arange(100) % 2 == 0))
    options = {"max_answer_tokens": 4, "max_thinking_tokens": 8, "temperature": 0.0, "value_head": own}
    prompts = ["a7b+3=<think>", "a7b?3c?4d?1=<think>"]
    replies = generate(*loaded, prompts, [None] * 2, stop_rule=StopRule(0.01, decline_novel=0.02), **options)
    assert [reply.stop_cause == "declined" for reply in replies] == [False, True]
    with pytest.raises(UserError, match="does not know which questions are usual"):
        generate(*loaded, prompts, [None] * 2, stop_rule=StopRule(0.01, decline_novel=0.02),
                 **{**options, "value_head": always(GO_ON)})  # fmt: skip


def test_the_first_stop_of_each_trace():
    decisions = torch.tensor([GO_ON, STOP, STOP, GO_ON, DECLINE])
    assert first_stop(decisions, torch.tensor([0, 0, 0, 1, 2]), 3).tolist() == [1, -1, 4]


def test_margins_at_a_price_for_each_boundary_are_those_at_each_price():
    both = Forecast(*(x.repeat(2, 1) for x in forecast()))
    prices = torch.tensor([0.0, 0.055], dtype=torch.float64)
    assert open_margin(both, prices).tolist() == pytest.approx([open_margin(forecast(), p).item() for p in prices])
    assert closed_margin(both, prices, (0.0, 0.01, 0.1)).tolist() == pytest.approx([0.7, -0.1])


def test_a_price_is_held_at_the_calibrated_one_and_another_task_warned_of():
    calibrated = head(calibration={"task": "arithmetic", "price": 0.005})
    rule, said = rule_at("0.02/token", TokenCost(), calibrated, task="arithmetic")
    assert price_per_token(rule) == 0.005 and "held at the calibrated 0.005" in said[0]
    rule, said = rule_at(0.001, TokenCost(), calibrated)
    assert price_per_token(rule) == 0.001 and not said
    rule, said = rule_at(0.02, TokenCost(), calibrated, clip=False, task="gsm8k")
    assert price_per_token(rule) == 0.02 and not said
    _, (line,) = rule_at(0.001, TokenCost(), calibrated, task="gsm8k")
    assert line.startswith("warning: ") and "calibrated on arithmetic, not on gsm8k" in line
    rule, (line,) = held_safe(head(), StopRule(0.02), mark="")
    assert price_per_token(rule) == 0.02 and line.startswith("the value head is not calibrated")


def test_a_price_per_second_by_hand():
    """The next token behind 10 tokens of prompt and 4 of thinking: c + d * (10 + 4.5)."""
    seconds = SecondsCost(a=1.0, b=0.1, c=0.2, d=0.01)
    rule = StopRule(parse_price("0.5/second", seconds), cost_model=seconds)
    assert price_per_token(rule, 10, 4) == pytest.approx(0.5 * (0.2 + 0.01 * 14.5))
    far = price_per_token(rule, torch.tensor([10.0, 1000.0]), 4.0)
    assert far[1] > 2 * far[0], "the context is paid for"
    assert parse_price("0.002", TokenCost()) == parse_price("0.002/token", TokenCost()) == 0.002
    for text, model in (("0.5/second", TokenCost()), ("0.5", seconds), ("0.1/flop", seconds), ("cheap", seconds)):
        with pytest.raises(UserError, match="counts seconds|counts tokens|is not a quantity"):
            parse_price(text, model)


def test_each_row_stops_at_the_price_of_its_own_prompt(loaded):
    """Gains 0.7, 0.1 and -0.3 at 0, 0.01 and 0.1: zero at 0.0325; the prompts make tokens of 0.02 and 0.2."""
    own = head()
    with torch.no_grad():
        own.closed[-1].bias.copy_(torch.tensor([0.7, 0.1, -0.3]))
    rule = StopRule(1.0, cost_model=SecondsCost(a=0.0, b=0.0, c=1e-9, d=0.01))
    guard = ValueGuard(loaded[0], own, rule, [False] * 2, 20, THINK_END, [EOS], prompt_tokens=[2, 20])
    with guard:
        guard.reader.states = torch.zeros(2, 20, 32)
        guard(torch.full((2, 20), DIGIT), torch.zeros(2, 36))
    assert guard.causes == [None, "value"]


def test_the_head_is_told_for_how_many_boundaries_the_answer_has_been_the_same(loaded):
    """A head that goes on until an answer has come three times in a row."""
    own = head(peek=True, agreed=True)
    own.forward = lambda states, position, look: Forecast(*torch.zeros(2, 2, 3), (2.5 - look[3])[:, None].expand(-1, 3))
    guard = ValueGuard(loaded[0], own, StopRule(0.01), [False] * 2, 4, THINK_END, [EOS])
    answers = torch.tensor([[7, 7, 8, 8, 8], [7, 8, 8, 8, 8]])
    stopped = [None, None]
    with guard:
        for k in range(5):
            guard.reader.states, guard.reader.closing = torch.zeros(2, 1, 32), torch.zeros(2, 32)
            guard.reader.closing_logits = torch.nn.functional.one_hot(answers[:, k], 36).float()
            guard(torch.full((2, 4 + 3 * k), DIGIT), torch.zeros(2, 36))
            stopped = [k if cause and at is None else at for cause, at in zip(guard.causes, stopped, strict=True)]
    assert stopped == [4, 3]


@pytest.mark.parametrize("fields", [{"price": -1}, {"price": 0.1, "rule": "half"}, {"price": 0.1, "least_value": 2},
                                    {"price": 0.1, "decline_novel": 1}])  # fmt: skip
def test_wrong_rules_are_told(fields):
    with pytest.raises(UserError):
        StopRule(**fields)


def always(decision: int, **fields) -> ValueHead:
    """A head that finds nothing (STOP) or everything (GO_ON) in more thinking."""
    found = head(**fields)
    with torch.no_grad():
        found.closed[-1].bias.fill_(1.0 if decision == GO_ON else -1.0)
    return found


def ask(loaded, value_head, rule, **options):
    return generate(
        *loaded, PROMPTS, [None, None], value_head=value_head, stop_rule=rule, max_answer_tokens=4,
        max_thinking_tokens=20, temperature=0.0, **options,
    )  # fmt: skip


def test_a_head_stops_before_the_first_token_or_never(loaded):
    for reply in ask(loaded, always(STOP), StopRule(0.01)):
        assert reply.thinking_tokens == 0 and reply.stop_cause in ("value", "length") and reply.answer_tokens > 1
    free = generate(*loaded, PROMPTS, [None, None], max_answer_tokens=4, max_thinking_tokens=20, temperature=0.0)
    kept = ask(loaded, always(GO_ON), StopRule(0.01))
    assert [r.completion_ids for r in kept] == [r.completion_ids for r in free]


def test_a_head_that_peeks_leaves_the_thoughts_as_they_are(loaded):
    free = generate(*loaded, PROMPTS, [None, None], max_answer_tokens=4, max_thinking_tokens=20, temperature=0.0)
    peeking = always(GO_ON, peek=True)
    assert [r.completion_ids for r in ask(loaded, peeking, StopRule(0.01))] == [r.completion_ids for r in free]


def test_a_head_looks_where_the_price_allows_it_and_a_look_is_a_token_of_the_cost(loaded):
    peeking = always(GO_ON, peek=True, peek_up_to=0.01)
    with torch.no_grad():
        peeking.blind.closed[-1].bias.fill_(1.0)
    seconds = SecondsCost(a=1.0, b=0.5, c=0.1, d=0.0)
    for price, looks in ((0.005, True), (0.05, False)):
        for prompt, reply in zip(PROMPTS, ask(loaded, peeking, StopRule(price), cost_model=seconds), strict=True):
            assert reply.looks == (1 + reply.thinking_tokens // 3 if looks else 0)
            tokens = len(loaded[1](prompt)["input_ids"])
            decoded = reply.thinking_tokens + reply.answer_tokens + reply.looks
            assert reply.unit == "seconds" and reply.cost == pytest.approx(1 + 0.5 * tokens + 0.1 * decoded)


def test_what_is_declined_ends_at_once_without_an_answer(loaded):
    for reply in ask(loaded, always(STOP), StopRule(0.01, least_value=0.9)):
        assert reply.stop_cause == "declined" and reply.answer == "" and reply.completion_ids == (THINK_END, EOS)


def test_rows_stop_by_themselves_at_boundaries_alone(loaded):
    model, _ = loaded
    own = head()
    with torch.no_grad():  # the gain is the first feature of the state
        own.closed = torch.nn.Linear(34, 3, bias=False)
        own.closed.weight.zero_()
        own.closed.weight[:, 0] = 1.0
    guard = ValueGuard(model, own, StopRule(0.01), [False, False, True], 1, THINK_END, [EOS])
    states = torch.zeros(3, 1, 32)
    states[:, 0, 0] = torch.tensor([1.0, -1.0, -1.0])
    with guard:
        guard.reader.states = states
        for written, decided in (([DIGIT], False), ([DIGIT] * 3, True)):
            scores = guard(torch.tensor([[1, *written]] * 3), torch.zeros(3, 36))
            open_tokens = torch.isfinite(scores).sum(1).tolist()
            assert open_tokens == [36, 1 if decided else 36, 36], "row 0 gains, row 2 does not think"
    assert guard.causes == [None, "value", None] and scores[1, THINK_END] == 0


def test_a_row_that_has_ended_is_not_stopped_while_others_go_on(loaded):
    guard = ValueGuard(loaded[0], always(STOP), StopRule(0.01), [False] * 3, 1, THINK_END, [EOS, OTHER_EOS])
    with guard:
        guard.reader.states = torch.zeros(3, 1, 32)
        for end in ([DIGIT], [EOS], [OTHER_EOS]), ([DIGIT, DIGIT], [EOS, PAD], [OTHER_EOS, PAD]):
            guard(torch.tensor([[1, DIGIT, *tokens] for tokens in end]), torch.zeros(3, 36))
    assert guard.causes == ["value", None, None]


def test_the_step_rule_of_the_head_places_the_boundaries(loaded):
    own = always(STOP, step_rule=StepRule((9,), 1))
    guard = ValueGuard(loaded[0], own, StopRule(0.01), [False], 1, THINK_END, [EOS])
    rows = [[1, 9, DIGIT], [1, DIGIT, 9], [1, DIGIT, DIGIT]]
    assert [bool(guard._at_boundary(torch.tensor([row]), 2)) for row in rows] == [True, False, False]


def test_beams_are_refused(loaded):
    with pytest.raises(UserError, match="one line of thought"):
        ask(loaded, always(STOP), StopRule(0.01), num_beams=2)
