from timecost.cost import split_tokens, token_cost

THINK_END = 5


def test_thinking_is_what_comes_before_the_end_of_thinking_token():
    assert split_tokens([8, 8, 8, THINK_END, 9, 2], THINK_END) == (3, 3)


def test_an_answer_without_thought_still_costs():
    assert split_tokens([THINK_END, 9, 2], THINK_END) == (0, 3)
    assert token_cost(0, 3, prompt_cost=1.0) == 4.0


def test_thinking_that_never_closes_holds_no_answer():
    assert split_tokens([8, 8, 8], THINK_END) == (3, 0)


def test_only_the_first_end_of_thinking_counts():
    assert split_tokens([8, THINK_END, 9, THINK_END], THINK_END) == (1, 3)
