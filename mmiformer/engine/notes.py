"""What a run's log should say although it arises before the log is open.

Modules say it by Python's own logging, `logging.getLogger(__name__).warning(...)`, which prints it at once unless
:func:`keep_notes` was called. What is said by `info` is for logs alone.
"""

from __future__ import annotations

import logging
import sys
from logging.handlers import MemoryHandler

_NOTES = logging.getLogger('mmiformer')  # the parent of the loggers of all modules


def print_notes() -> None:
    """Print the notes kept so far, and later ones at once: Python prints those of a logger without handlers."""
    for handler in _NOTES.handlers:
        if isinstance(handler, MemoryHandler):
            handler.close()
    _NOTES.handlers.clear()


def keep_notes() -> None:
    """Keep notes for :func:`log_notes`."""
    _NOTES.setLevel(logging.INFO)
    _NOTES.handlers[:] = [MemoryHandler(10**6, logging.CRITICAL + 1, target=logging.StreamHandler())]


def log_notes(logger: logging.Logger) -> None:
    """Write the notes kept so far, and all later ones, to a Runner's log, which rank 0 alone prints and files."""
    for handler in _NOTES.handlers:
        if isinstance(handler, MemoryHandler):
            for record in handler.buffer:
                logger.handle(record)
            handler.buffer.clear()
    _NOTES.handlers[:] = logger.handlers


def log_traceback() -> str | None:
    """Write the traceback of the current exception to the run's log file.

    Returns:
        The file, or None if there is none yet, or none of this process.
    """
    for handler in _NOTES.handlers:
        if isinstance(handler, logging.FileHandler):
            record = _NOTES.makeRecord('mmiformer', logging.ERROR, __file__, 0, 'stopped by', (), sys.exc_info())
            try:
                handler.handle(record)
            except OSError:  # the disk is full, which may be what has stopped it
                return None
            return handler.baseFilename
    return None
