"""The types that parts of a config name, and the arguments that they get or assume."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from mmengine.registry import DATASETS, MODELS, Registry


def find_type(part: Mapping[str, Any], registry: Registry, scope: str) -> type | None:
    """The class that a part of a config names; None if it is not registered."""
    if not isinstance(part['type'], str):
        return part['type']
    with contextlib.suppress(ImportError):
        import_module(f'{scope}.{"datasets" if registry is DATASETS else "models"}')
    with registry.switch_scope_and_registry(scope) as scoped:
        return scoped.get(part['type'])


def argument(part: Mapping[str, Any], cls: type | None, name: str, default: Any = None) -> Any:
    """An argument: the config's, else what the class or one of its bases assumes, else `default`."""
    if name in part:
        return part[name]
    for base in getattr(cls, '__mro__', ()):
        parameter = inspect.signature(base.__init__).parameters.get(name)
        if parameter and parameter.default is not inspect.Parameter.empty:
            return parameter.default
    return default


def model_argument(part: Mapping[str, Any], scope: str, name: str, default: Any = None) -> Any:
    """An argument of a part of a model."""
    return argument(part, None if name in part else find_type(part, MODELS, scope), name, default)
