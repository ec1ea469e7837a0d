"""Reading a config and changing it as a command line says. Nothing is built here."""

import difflib
import inspect
from argparse import ArgumentError
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from ..hub import config_dir

# What MMEngine's Runner reads at the top of a config beside its own arguments.
RUNNER_KEYS = {*inspect.signature(Runner.__init__).parameters} - {'self', 'cfg'} | {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
}
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
EVALUATORS = ('val_evaluator', 'test_evaluator')


class KeyValues(DictAction):
    """argparse action for `KEY=VALUE ...`: MMEngine's, with an error message where it has a traceback."""

    def __call__(self, parser, namespace, values, option_string=None):
        for pair in values:
            if '=' not in pair:
                raise ArgumentError(self, f'{pair!r} is not KEY=VALUE, such as train_dataloader.batch_size=4')
        try:
            super().__call__(parser, namespace, values, option_string)
        except AssertionError as error:  # brackets that do not match
            raise ArgumentError(self, str(error)) from error


def read_config(path: str | Path) -> Config:
    """Read a config file.

    Args:
        path: The file; it may be relative to the current directory.

    Raises:
        FileNotFoundError: There is no such file; the message names the project's configs that come near.
        ValueError: It cannot be read, or is for neither mmdet nor mmseg.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'there is no config {path}{_similar_config(path)}')
    try:
        cfg = Config.fromfile(path)
    except (SyntaxError, NameError, KeyError, AttributeError, TypeError, OSError) as error:
        raise ValueError(f'config {path} cannot be read: {type(error).__name__}: {error}') from error
    if cfg.get('default_scope') not in ('mmdet', 'mmseg'):
        raise ValueError(
            f"config {path}: default_scope={cfg.get('default_scope')!r}; the tools run configs of 'mmdet' and 'mmseg'"
        )
    return cfg


def _similar_config(path: Path) -> str:
    known = [file for file in sorted(config_dir().rglob('*.py')) if '_base_' not in file.parts]
    names = difflib.get_close_matches(path.with_suffix('.py').name, {file.name for file in known}, n=3)
    near = [file for name in names for file in known if file.name == name]
    near.sort(key=lambda file: file.parent.name != path.parent.name)  # those of the same task first
    return '; did you mean ' + ' or '.join(map(str, near[:3])) + '?' if near else ''


def merge_options(cfg: Config, options: Mapping[str, Any] | None) -> list[str]:
    """Apply `--cfg-options`, in place.

    A key that is new to the config is allowed, since many options are not written out, unless it looks like a slip of
    the fingers: at the top it must be known to MMEngine's Runner, below it must not resemble a key that is there.

    Args:
        cfg: The config.
        options: {dotted key: value}; a list's elements go by their number.

    Returns:
        A note for each key that the config did not have.

    Raises:
        ValueError: A key looks mistyped, or leads through something that is neither dict nor list.
    """
    notes = []
    for key, value in (options or {}).items():
        note = _check_key(cfg, key)
        try:
            cfg.merge_from_dict({key: value})
        except (KeyError, TypeError) as error:
            raise ValueError(f'--cfg-options {key}: {error.args[0] if error.args else error}') from error
        if note:
            notes.append(note)
    return notes


def _check_key(cfg: Config, key: str) -> str | None:
    """A note if `key` is new to the config; an error if it looks mistyped."""
    node, done = cfg._cfg_dict, []
    for part in key.split('.'):
        where = '.'.join(done)
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise ValueError(
                    f'--cfg-options {key}: {where} is a list of {len(node)}, {part!r} is none of its elements'
                )
            node = node[int(part)]
        elif isinstance(node, Mapping):
            if part not in node:
                near = difflib.get_close_matches(part, node, n=1, cutoff=0.85)
                if near:
                    raise ValueError(f'--cfg-options {key}: did you mean {".".join([*done, near[0]])}?')
                if not done and part not in RUNNER_KEYS:
                    raise ValueError(f'--cfg-options {key}: the config has no {part!r}; it has {", ".join(node)}')
                return f'--cfg-options {key}: new, the config had no {part!r}' + (f' in {where}' if where else '')
            node = node[part]
        elif node is None:
            return None
        else:
            raise ValueError(f'--cfg-options {key}: {where} is {node!r}, which has no keys')
        done.append(part)
    return None


def datasets(cfg: Config, loaders: tuple[str, ...] = LOADERS) -> Iterator[dict]:
    """The configs of the data sets that `loaders` read, with wrappers such as RepeatDataset taken off."""
    for name in loaders:
        waiting = [cfg[name].dataset] if cfg.get(name) else []
        while waiting:
            dataset = waiting.pop(0)
            inner = [dataset['dataset']] if 'dataset' in dataset else list(dataset.get('datasets', []))
            if inner:
                waiting += inner
            else:
                yield dataset


def evaluators(cfg: Config, names: tuple[str, ...] = EVALUATORS) -> Iterator[dict]:
    """The configs of the metrics of validation and testing."""
    for name in names:
        metrics = cfg.get(name) or []
        yield from metrics if isinstance(metrics, (list, tuple)) else [metrics]


def set_data_root(cfg: Config, root: str | Path) -> None:
    """Move the data of a config to another folder, in place: images, annotations and the evaluators' files.

    Raises:
        ValueError: The config's data sets have no `data_root`, or more than one, so what to move is unclear.
    """
    old = {dataset.get('data_root') for dataset in datasets(cfg)}
    if len(old) != 1 or None in old:
        raise ValueError(
            f'--data-root: the data sets of the config have the data_root {sorted(map(str, old))}, not one'
        )
    old, new = old.pop().rstrip('/') + '/', f'{Path(root).expanduser()}/'
    for part in (*datasets(cfg), *evaluators(cfg)):
        for key, value in part.items():
            if isinstance(value, str) and f'{value}/'.startswith(old):
                part[key] = new + value[len(old) :]


def fit_workers(cfg: Config) -> None:
    """Make `num_workers=0` enough to load data in the main process, in place: torch wants persistent_workers off."""
    for name in LOADERS:
        if cfg.get(name) and not cfg[name].get('num_workers', 0):
            cfg[name].persistent_workers = False


def import_toolbox(cfg: Config) -> None:
    """Import the config's toolbox and mmcv's operators, so that what is missing is said at once.

    Raises:
        ImportError: The toolbox or mmcv's compiled operators cannot be imported, or their versions do not fit.
    """
    for module in (cfg.default_scope, 'mmcv.ops'):
        try:
            import_module(module)
        except (ImportError, AssertionError) as error:  # the toolboxes assert their versions
            raise ImportError(
                f'{module} cannot be imported: {error}. This config needs {cfg.default_scope} and mmcv with its '
                'compiled operators; docs/install.md tells how to install them'
            ) from error
