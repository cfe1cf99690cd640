"""Verifiers: score whether a completion reaches the gold answer, and say so when they could not.

Imports nothing of timecost, torch or TRL: any trainer may call them. Imported as `timecost.verifiers`.
"""

from .reward import Reward, TooManyVerifierErrors
from .verdict import Verdict

__all__ = ["Reward", "TooManyVerifierErrors", "Verdict"]
