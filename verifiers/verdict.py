"""Verdict: what a verifier says about one completion."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Verdict:
    """One completion's outcome.

    Attributes:
        status: `verifier_error` when the verifier could not decide: such a completion is counted, shown, and left out
            of every mean. It is never a wrong answer.
        score: in [0, 1]; a verifier of many tests may give a part. 0 with `verifier_error`, where it means nothing.
        reason: why it is not correct, short enough for a line of a log.
    """

    status: Literal["correct", "incorrect", "verifier_error"]
    score: float
    reason: str = ""

    def __post_init__(self):
        if self.status not in ("correct", "incorrect", "verifier_error"):
            raise ValueError(f"unknown status {self.status!r}")
        if not 0 <= self.score <= 1:  # false for nan, too
            raise ValueError(f"score must be in [0, 1], not {self.score}")

    @classmethod
    def correct(cls) -> "Verdict":
        return cls("correct", 1.0)

    @classmethod
    def incorrect(cls, reason: str) -> "Verdict":
        return cls("incorrect", 0.0, reason)

    @classmethod
    def verifier_error(cls, reason: str) -> "Verdict":
        return cls("verifier_error", 0.0, reason)
