"""The cost of time: what a completion used, in tokens.

A completion is split at its end-of-thinking token, because a budget bounds the thinking and a price must see both:
were the answer free, thinking would move into it. Lengths are counted in token ids, never in characters.
"""


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
