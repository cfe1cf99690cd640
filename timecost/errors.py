"""Errors that a user can cause or meet, told in one line: what is wrong, and what to do.

`timecost.cli.main` prints them without a traceback. Everything else that escapes is a bug and keeps its traceback.
"""

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Wrong input. The message is one line that names the cause and the remedy."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. A kind of KeyboardInterrupt, so that clean-up written for Ctrl-C serves both."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `", did you mean 'x'?"` for the known name that looks most like `name`, else an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean '{matches[0]}'?" if matches else ""


def is_disk_full(error: BaseException | None) -> bool:
    """Whether `error`, or an error that led to it, says that the disk is full.

    Python raises OSError(ENOSPC); safetensors and tokenizers (Rust) put it into their message; torch.save only says
    that its writer did not get as far as it should have.
    """
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        text = str(error)
        if "No space left on device" in text or "Disk quota exceeded" in text:
            return True
        if "inline_container" in text and "unexpected pos" in text:  # torch.save
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def library_refusals(remedies: dict[str, str] | None = None) -> Iterator[None]:
    """Turn what a library raises about settings (ValueError, a missing package) into a UserError of one line.

    `remedies`: part of a message -> what to add to it.
    """
    try:
        yield
    except (ValueError, ImportError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, UserError) or (isinstance(error, RuntimeError) and "installed" not in text):
            raise
        advice = [remedy for part, remedy in (remedies or {}).items() if part in text]
        raise UserError("; ".join([text.rstrip("."), *advice])) from error
