"""What is left out with OpenMMLab's original packages, beside which some extras cannot be installed."""

from __future__ import annotations

from importlib.metadata import distributions

import pytest

ORIGINAL = any(distributions(name='mmengine'))  # the maintained fork's is called onedl-mmengine
EXTRAS = ('exports', 'peers', 'imagenet')  # nothing else is left out


def needs_extra(name: str) -> None:
    """Leave out the test from here on, or the module that calls this at its top; pytest prints which."""
    __tracebackhide__ = True  # so that it names the caller's line
    if name not in EXTRAS:
        raise ValueError(f'{name} is none of {", ".join(EXTRAS)}')
    if ORIGINAL:
        pytest.skip(f'left out with the original packages: {name}', allow_module_level=True)
