"""Reward: a verifier as a reward function of TRL's GRPOTrainer."""

import logging
from collections.abc import Callable

from .verdict import Verdict

logger = logging.getLogger(__name__)


class Reward:
    """Calls `verify(completions, answers)` on the text of the completions. Pickles when `verify` does.

    Use: `GRPOTrainer(..., reward_funcs=Reward(verify))` on a dataset with a column `answer`.
    """

    __name__ = "accuracy"  # TRL logs rewards/accuracy/mean

    def __init__(self, verify: Callable[[list[str], list[str]], list[Verdict]]):
        self.verify = verify

    def __call__(self, completions: list, answer: list[str], **kwargs) -> list[float | None]:
        """Score in [0, 1] of each completion, None where it could not be verified.

        An exception in `verify` is logged and leaves the whole call unverified, so that one completion cannot end a
        run. Raises ValueError when `verify` does not return one verdict for each completion.
        """
        texts = [text_of(completion) for completion in completions]
        try:
            verdicts = self.verify(texts, list(answer))
        except Exception:
            logger.exception("the verifier raised: %d completions are not verified", len(texts))
            return [None] * len(texts)
        if len(verdicts) != len(texts):
            raise ValueError(f"{len(verdicts)} verdicts for {len(texts)} completions")
        errors = [verdict for verdict in verdicts if verdict.status == "verifier_error"]
        if errors:
            logger.warning("%d of %d completions not verified: %s", len(errors), len(texts), errors[0].reason)
        return [None if verdict.status == "verifier_error" else verdict.score for verdict in verdicts]


def text_of(completion: str | list[dict]) -> str:
    """The text of a completion: itself, or the content of its last message, whose text parts are joined."""
    if isinstance(completion, str):
        return completion
    content = (completion[-1].get("content") if completion else None) or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
