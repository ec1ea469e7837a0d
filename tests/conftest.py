"""What every test starts from."""

import pytest
from mmengine.registry import DefaultScope

import mmiformer  # noqa: F401, before any toolbox, which may import torchvision


@pytest.fixture(autouse=True)
def no_default_scope(monkeypatch):
    """No scope of another test's toolbox, by which MMEngine's registries would look names up."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', type(DefaultScope._instance_dict)())
