"""What a user can fix, in one message. Imports nothing of the package."""

from __future__ import annotations

from collections.abc import Iterable

# Exit code of a command line that is done, but has left out, replaced or found input that is broken.
DONE_BUT_BROKEN = 3


class UserError(ValueError):
    """An option, a config, a file or the environment is wrong, and the message says what to change.

    Raised where input is read. A command line prints the message alone and exits with 1; any other error is a bug and
    keeps its traceback.
    """


class MissingFile(UserError, FileNotFoundError):
    """A file or folder that the user named, or that a config names, is not there or cannot be fetched."""


def few(items: Iterable[object], number: int = 4) -> str:
    """The first `number` items, joined with commas, and '...' if there are more."""
    names = [str(item) for item in items]
    return ', '.join(names[:number]) + (', ...' if len(names) > number else '')
