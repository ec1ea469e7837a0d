"""What every test starts from."""

import signal

import pytest
from mmengine.registry import DefaultScope

import mmiformer  # noqa: F401, before any toolbox, which may import torchvision

# In the background of a shell the suite ignores Ctrl-C, and so would the processes that it starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_default_scope(monkeypatch):
    """No scope of another test's toolbox, by which MMEngine's registries would look names up."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', type(DefaultScope._instance_dict)())
