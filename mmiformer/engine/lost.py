"""What to say where a process is lost: one of a run's several, or one that loads its data."""

from __future__ import annotations

import re

_DIST_ERRORS = ('DistError', 'DistBackendError', 'DistNetworkError', 'DistStoreError')  # torch 2.1 has not all of them


def lost_process(error: BaseException) -> str | None:
    """What the user should know of an error that a lost process has caused.

    Args:
        error: What was raised in a process that is still there. torch's own error may lie within it: that of a lost
            worker comes up anywhere.

    Returns:
        The message, or None if the error is another.
    """
    while error:
        if said := _told(error):
            return said
        error = error.__cause__ or error.__context__
    return None


def _told(error: BaseException) -> str | None:
    said = re.sub(r'^\[\S+] ', '', str(error).strip()).partition('\n')[0].partition('. ')[0].rstrip('.')
    if said.startswith('DataLoader worker (pid'):
        return (
            f'a process that loads data is gone: {said}. Mostly the memory was full, which fewer num_workers of the '
            'loaders help against. A training goes on from its last checkpoint with --resume'
        )
    if type(error).__name__ not in _DIST_ERRORS and '/gloo/' not in str(error):
        return None
    if re.search('tim(ed|e)[ -]?out', said, re.IGNORECASE):
        return (
            f'another process of this run does not answer: {said}. It is frozen, or busy for longer than '
            'env_cfg.dist_cfg.timeout allows, in seconds. A training goes on from its last checkpoint with --resume'
        )
    return (
        f'another process of this run is gone: {said}. Its own output says why; if it was killed, it says nothing, and '
        'mostly the memory was full. A training goes on from its last checkpoint with --resume'
    )
