"""Checks of arguments that end with the argument, its value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real

MOST = 2**16  # channels, blocks or pixels that any network could have


def check_whole(name: str, value: object, least: int = 1, most: int = MOST, also: str = '') -> None:
    """Check a whole number.

    Args:
        name: The argument.
        value: Its value.
        least: The smallest number allowed.
        most: The largest.
        also: What else is allowed or meant, for the message.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is too small or too large.
    """
    what = f'{name}={value!r} must be a whole number from {least} to {most}{also}'
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(what)
    if not least <= value <= most:
        raise ValueError(what)


def check_number(name: str, value: object, also: str) -> None:
    """Check a number that is finite and not negative; `also` says what is allowed.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, infinite or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f'{name}={value!r} must be a number, {also}')
    if not 0 <= value < math.inf:
        raise ValueError(f'{name}={value!r} must be {also}')


def check_flag(name: str, value: object) -> None:
    """Check a value that is True or False.

    Raises:
        TypeError: It is neither.
    """
    if not isinstance(value, bool):
        raise TypeError(f'{name}={value!r} must be True or False')


def check_cfg(name: str, value: object) -> None:
    """Check the config of a layer or an initialization.

    Raises:
        TypeError: It is no dict.
        ValueError: It has no type.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}={value!r} must be a dict with a type, such as dict(type='BN')")
    if 'type' not in value:
        raise ValueError(f'{name}={dict(value)} has no type')
