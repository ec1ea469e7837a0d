"""What every test starts from."""

import signal

import pytest
import torch
from mmengine.registry import DefaultScope

import mmiformer  # noqa: F401, before any toolbox, which may import torchvision

# In the background of a shell the suite ignores Ctrl-C, and so would the processes that it starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_default_scope(monkeypatch):
    """No scope of another test's toolbox, by which MMEngine's registries would look names up."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', type(DefaultScope._instance_dict)())


@pytest.fixture(
    params=["torch's", 'restricted'] if hasattr(torch.serialization, 'add_safe_globals') else ['restricted']
)
def unpickler(request, monkeypatch):
    """torch's unpickler with a list of types, which it has from 2.6 on, and the one for older versions."""
    if request.param == 'restricted':
        monkeypatch.delattr(torch.serialization, 'add_safe_globals', raising=False)
