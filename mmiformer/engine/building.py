"""Errors from building what a config names, as errors of the config."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mmengine.registry import build_from_cfg

from ..errors import UserError


@contextmanager
def building(cfg: Mapping, *keys: str) -> Iterator[None]:
    """Turn an error from building parts of a config into one that names the part.

    Constructors raise all kinds of errors for arguments that do not fit, so any error is taken for the config's. It
    stays the cause, and command lines write its traceback to the log file.

    Args:
        cfg: The config.
        keys: The top keys that are built from.

    Raises:
        UserError: Building failed.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f'{_failed_key(cfg, keys, error)}: {reason(error)}') from error


def _failed_key(cfg: Mapping, keys: tuple[str, ...], error: Exception) -> str:
    """The dotted key of the innermost part that was being built, or all keys if it is not found in the config."""
    top = {key: cfg[key] for key in keys if key in cfg}
    key, part = ' or '.join(keys), {}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code is build_from_cfg.__code__:
            built = frame.f_locals['cfg']
            for name, value in (*_parts(part, f'{key}.'), *_parts(top)):
                if isinstance(value, Mapping) and value == built:
                    key, part = name, value
                    break
    return key


def _parts(config: object, prefix: str = '') -> Iterator[tuple[str, object]]:
    """All that is inside a config, with dotted keys, outer parts first."""
    items = config.items() if isinstance(config, Mapping) else enumerate(config)
    for name, value in items:
        yield f'{prefix}{name}', value
        if isinstance(value, (Mapping, list, tuple)):
            yield from _parts(value, f'{prefix}{name}.')


def reason(error: Exception) -> str:
    """What an error says, and of which kind it is."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if not text:  # an assertion, for example
        text = traceback.extract_tb(error.__traceback__)[-1].line
    if 'need at least one array to concatenate' in text:
        return 'no image is left in the data set'
    text = text if len(text) <= 600 else f'{text[:600]} ...'  # MMEngine's may show the config
    return text if type(error) is ValueError else f'{type(error).__name__}: {text}'
