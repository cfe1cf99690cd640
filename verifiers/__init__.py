"""Verifiers: say whether a completion is correct, and when they themselves failed.

Imports nothing of timecost, torch or TRL: any trainer may call them. Imported as `timecost.verifiers`.
"""

from .code import verify_code, verify_code_batch
from .math import MathPolicy, verify_math, verify_math_batch
from .reward import Reward, TooManyVerifierErrors
from .sandbox import CodeLimits, SandboxUnavailable
from .verdict import Verdict

__all__ = [
    "CodeLimits",
    "MathPolicy",
    "Reward",
    "SandboxUnavailable",
    "TooManyVerifierErrors",
    "Verdict",
    "verify_code",
    "verify_code_batch",
    "verify_math",
    "verify_math_batch",
]
