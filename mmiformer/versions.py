"""The software that results depend on."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from . import __version__

_OPENMMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmsegmentation', 'mmpretrain')
STACK = ('torch', 'timm', *_OPENMMLAB, *(f'onedl-{name}' for name in _OPENMMLAB), 'onedl-mmdetection')


def versions() -> dict[str, str]:
    """{distribution: version} of what is installed of the stack, after the project's own and Python's."""
    found = dict(mmiformer=__version__, python=platform.python_version())
    for name in STACK:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
