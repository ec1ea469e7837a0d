"""Which runtimes there are for this Python."""

from __future__ import annotations

import sys

import pytest

HAS_EXECUTORCH = sys.version_info[:2] not in ((3, 10), (3, 12))  # as requirements/executorch.txt has it


def needs(runtime: str) -> pytest.MarkDecorator:
    """Skips a test where the runtime is not released for the torch that this Python has here."""
    missing = runtime.startswith('executorch') and not HAS_EXECUTORCH
    return pytest.mark.skipif(missing, reason='ExecuTorch is for torch 2.13, which Python 3.10 and 3.12 lack here')
