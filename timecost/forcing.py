"""What logits processors share: rows in which one token alone stays open."""


def force(scores, rows, token_id: int):
    """Scores (B, V) that leave one token open in `rows` (B,), whatever an earlier processor ruled out."""
    scores = scores.masked_fill(rows[:, None], -float("inf"))
    scores[:, token_id] = scores[:, token_id].masked_fill(rows, 0.0)
    return scores
