"""Reward: a verifier as a reward function of TRL's GRPOTrainer."""

import logging
from collections import deque
from collections.abc import Callable

from .verdict import Verdict

logger = logging.getLogger(__name__)


class TooManyVerifierErrors(RuntimeError):
    """So many completions could not be verified that training on the rest would mean little."""


class Reward:
    """Calls `verify(completions, answers)` on the text of the completions. Pickles when `verify` does.

    Use: `GRPOTrainer(..., reward_funcs=Reward(verify))` on a dataset with a column `answer`.

    Args:
        verify: `verify(completions, answers) -> list[Verdict]`.
        max_error_rate: share of verifier errors among the last `window` completions of this process above which a call
            raises TooManyVerifierErrors: a verifier that is broken must not pass for a hard data set. 1: never.
        window: in completions. Those not seen yet count as verified.
    """

    __name__ = "accuracy"  # TRL logs rewards/accuracy/mean

    def __init__(
        self,
        verify: Callable[[list[str], list[str]], list[Verdict]],
        max_error_rate: float = 0.05,
        window: int = 1000,
    ):
        if not 0 <= max_error_rate <= 1 or window < 1:
            raise ValueError(
                f"max_error_rate must be in [0, 1] and window at least 1, not {max_error_rate} and {window}"
            )
        self.verify = verify
        self.max_error_rate = max_error_rate
        self.recent: deque[bool] = deque(maxlen=window)  # whether each of the last completions was an error

    def __call__(self, completions: list, answer: list[str], **kwargs) -> list[float | None]:
        """Score in [0, 1] of each completion, None where it could not be verified.

        An exception in `verify` is logged and leaves the whole call unverified, so that one completion cannot end a
        run. Raises ValueError when `verify` does not return one verdict for each completion, and
        TooManyVerifierErrors when too many of the last completions were not verified.
        """
        texts = [text_of(completion) for completion in completions]
        try:
            verdicts = self.verify(texts, list(answer))
        except Exception as error:
            logger.exception("the verifier raised: %d completions are not verified", len(texts))
            self._count([True] * len(texts), f"{type(error).__name__}: {error}")
            return [None] * len(texts)
        if len(verdicts) != len(texts):
            raise ValueError(f"{len(verdicts)} verdicts for {len(texts)} completions")
        errors = [verdict for verdict in verdicts if verdict.status == "verifier_error"]
        if errors:
            logger.warning("%d of %d completions not verified: %s", len(errors), len(texts), errors[0].reason)
        self._count([verdict.status == "verifier_error" for verdict in verdicts], errors[0].reason if errors else "")
        return [None if verdict.status == "verifier_error" else verdict.score for verdict in verdicts]

    def _count(self, errors: list[bool], reason: str) -> None:
        self.recent.extend(errors)
        if any(errors) and sum(self.recent) > self.max_error_rate * self.recent.maxlen:
            raise TooManyVerifierErrors(
                f"{sum(self.recent)} of the last {len(self.recent)} completions could not be verified, more than "
                f"{self.max_error_rate:.0%} of {self.recent.maxlen}; the last reason: {' '.join(reason.split())[:200]}"
            )


def text_of(completion: str | list[dict]) -> str:
    """The text of a completion: itself, or the content of its last message, whose text parts are joined."""
    if isinstance(completion, str):
        return completion
    content = (completion[-1].get("content") if completion else None) or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
