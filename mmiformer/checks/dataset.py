"""What the config of a data set means, with the defaults of its class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from ..engine.config import datasets, kind, nodes
from .parts import argument, find_type


class DataConfig:
    """The config of a data set, beside the class that it names.

    Args:
        config: As in `train_dataloader.dataset`, without wrappers.
        scope: The config's `default_scope`; None to tell it by the keys.

    Attributes:
        config: The config.
        kind: Its type, without scope.
        scope: The toolbox where the type is looked up.
        cls: The class; None if it is not registered.
        root: Its `data_root`, '' if it has none.
        annotations: Its `ann_file` below the root, '' if it has none.
        prefixes: {name: folder below the root} of its `data_prefix`.
        is_remote: Whether it lies on remote storage.
    """

    def __init__(self, config: Mapping[str, Any], scope: str | None = None):
        self.config = config
        self.kind = kind(config)
        prefixes = config.get('data_prefix') or config.get('split') or {}
        if isinstance(prefixes, str):  # of mmpretrain's data sets
            prefixes = dict(img_path=prefixes)
        named = config['type'].rpartition('.')[0] if isinstance(config['type'], str) else ''
        self.scope = named or scope or ('mmdet' if 'img' in prefixes else 'mmseg')
        self.cls = find_type(config, DATASETS, self.scope)
        self.root = str(config.get('data_root') or '')
        self.annotations = os.path.join(self.root, config['ann_file']) if config.get('ann_file') else ''
        self.prefixes = {name: os.path.join(self.root, path) for name, path in prefixes.items() if path is not None}
        backend = (config.get('backend_args') or {}).get('backend', 'local')
        paths = (self.root, self.annotations, *self.prefixes.values())
        self.is_remote = backend != 'local' or any('://' in path for path in paths)

    def get(self, name: str, default: Any = None) -> Any:
        """An argument: the config's, else the default of the class, else `default`."""
        return argument(self.config, self.cls, name, default)

    @property
    def meta(self) -> dict[str, Any]:
        """Its `metainfo`, files read as MMEngine does, above what its type knows."""
        meta = dict(getattr(self.cls, 'METAINFO', {}))
        for key, value in (self.config.get('metainfo') or {}).items():
            if isinstance(value, str) and os.path.isfile(value):  # a line for each item
                value = Path(value).read_text().splitlines()
            meta[key] = value
        return meta

    @property
    def classes(self) -> Any:
        """The classes of the config, or of the file that it names, else those of its type; None if there are none."""
        return self.meta.get('classes')

    @property
    def known_classes(self) -> Any:
        """The classes of its type, of which the config's may be a selection; None if it has none."""
        return getattr(self.cls, 'METAINFO', {}).get('classes')

    def reads_like(self, name: str) -> bool:
        """Whether it is a data set of the type `name`, or of a type that finds and reads its data in the same way."""
        bases = self.cls.__mro__ if self.cls else ()
        base = next((base for base in bases if base.__name__ == name), None)
        if base is None:
            return self.kind == name
        methods = ('load_data_list', 'parse_data_info', '_join_prefix')
        return all(getattr(self.cls, method, None) is getattr(base, method, None) for method in methods)

    def is_a(self, name: str) -> bool:
        """Whether its type is `name` or derived from it."""
        return name in [base.__name__ for base in self.cls.__mro__] if self.cls else self.kind == name

    def transforms(self, *kinds: str) -> Iterator[dict]:
        """The transforms of its pipeline of some types, at any depth."""
        for node in nodes(list(self.config.get('pipeline') or [])):
            if 'type' in node and kind(node) in kinds:
                yield node


def data_configs(cfg: Mapping[str, Any], loaders: Sequence[str]) -> dict[str, DataConfig]:
    """The data sets that loaders read, inside of wrappers, by their places in the config."""
    found = datasets(cfg, loaders).items()
    return {where: DataConfig(dataset, cfg.get('default_scope')) for where, dataset in found if 'type' in dataset}
