"""Tokens that are forced: the guard that bounds thinking and answer, row by row."""


def force(scores, rows, token_id: int):
    """Scores (B, V) that leave one token open in `rows` (B,), whatever an earlier processor ruled out."""
    scores = scores.masked_fill(rows[:, None], -float("inf"))
    scores[:, token_id] = scores[:, token_id].masked_fill(rows, 0.0)
    return scores


class BudgetGuard:
    """A logits processor of transformers' `generate` that bounds thinking and answer, row by row.

    Everything is read off the tokens behind the prompt at every step, so that left padding, a natural end and the
    reordering of beams need no bookkeeping. `bounds` are thinking tokens per prompt, None for no bound; `closed` tells
    the prompts that close the thinking themselves. While thinking is open the end of sequence is barred: there would be
    no answer. In the answer the tokens of thinking are barred: thinking would go on there. `optional` tells the rows
    (default: none) that think only from a token of `reopen_ids` on and may answer without. Writes into the scores that
    it is given: a copy of them would be most of its cost.
    """

    def __init__(self, bounds, closed, prompt_length: int, think_end_id: int, eos_ids: list[int], reopen_ids: list[int],
                 max_answer_tokens: int, optional=()):  # fmt: skip
        import torch

        self.bounds = torch.tensor([torch.iinfo(torch.int64).max if bound is None else bound for bound in bounds])
        self.closed_by_prompt = torch.tensor(closed, dtype=torch.bool)
        self.optional = torch.tensor(optional, dtype=torch.bool) if any(optional) else None
        self.lowest = int(self.bounds.min())
        self.prompt_length, self.max_answer_tokens = prompt_length, max_answer_tokens
        self.think_end_id, self.eos_ids, self.thinking_ids = think_end_id, eos_ids, [think_end_id, *reopen_ids]
        self.prepared = False

    def __call__(self, input_ids, scores):
        import torch

        if not self.prepared:
            self._prepare(scores)
        written = input_ids[:, self.prompt_length :]
        length = written.shape[1]
        is_end = written == self.think_end_id
        closed = is_end.any(1) | self.closed_by_prompt
        thinks = ~closed
        if self.optional is not None:
            thinks &= ~self.optional | torch.isin(written, self.reopen).any(1)
        scores[:, self.eos_ids] = scores[:, self.eos_ids].masked_fill(thinks[:, None], -torch.inf)
        scores[:, self.thinking_ids] = scores[:, self.thinking_ids].masked_fill(closed[:, None], -torch.inf)
        if length >= self.lowest:
            scores = force(scores, thinks & (length >= self.bounds), self.think_end_id)
        if length >= self.max_answer_tokens:
            start = torch.where(self.closed_by_prompt, 0, is_end.int().argmax(1) + 1)  # of the answer
            scores = force(scores, closed & (length - start >= self.max_answer_tokens), self.eos_ids[0])
        return scores

    def _prepare(self, scores) -> None:
        """What the first scores tell: the device and the number of beams."""
        import torch

        beams = len(scores) // len(self.bounds)
        self.bounds = self.bounds.to(scores.device).repeat_interleave(beams)
        self.closed_by_prompt = self.closed_by_prompt.to(scores.device).repeat_interleave(beams)
        if self.optional is not None:
            self.optional = self.optional.to(scores.device).repeat_interleave(beams)
            self.reopen = torch.tensor(self.thinking_ids[1:], device=scores.device, dtype=torch.int64)
        self.prepared = True
