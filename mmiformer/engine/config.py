"""Opening a config, and what the parts of a config are. Nothing is built here."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from ..errors import MissingFile, UserError, few
from ..hub import config_dir

logger = logging.getLogger(__name__)

# Arguments of MMEngine's Runner, which are keys at the top of a config, and what it reads there beside them.
RUNNER_ARGUMENTS = {*inspect.signature(Runner.__init__).parameters} - {'self', 'cfg'}
RUNNER_KEYS = RUNNER_ARGUMENTS | {
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
# What a config's parts are: dicts that have something in them, dicts, and dicts or lists of them.
FILLED = ('model', 'optim_wrapper', *LOADERS)
DICTS = ('train_cfg', 'val_cfg', 'test_cfg', 'default_hooks', 'log_processor', 'env_cfg', 'visualizer', 'auto_scale_lr')
SEVERAL = (*EVALUATORS, 'param_scheduler', 'custom_hooks')
# Toolboxes, and the extra of this package that brings what the others do not.
SCOPES = {'mmdet': 'onedl', 'mmseg': 'onedl', 'mmpretrain': 'imagenet'}


def open_config(
    path: str | Path, data_root: str | Path | None = None, options: Mapping[str, Any] | None = None
) -> Config:
    """Open a config as a command line says.

    Args:
        path: The config file; it may be relative to the current directory.
        data_root: `--data-root`, the folder to take all data from.
        options: `--cfg-options`, {dotted key: value}; they take precedence.

    Raises:
        UserError: The config cannot be used, or not changed so.
    """
    cfg = read_config(path)
    if data_root:
        set_data_root(cfg, data_root)
    merge_options(cfg, options or {})
    _check_parts(cfg)
    for name in LOADERS:  # without workers, torch refuses to keep them
        if cfg.get(name) and not cfg[name].get('num_workers', 0):
            cfg[name].persistent_workers = False
    return cfg


def read_config(path: str | Path) -> Config:
    """Read a config file.

    Raises:
        MissingFile: There is no such file; the message names the project's configs that come near.
        UserError: It cannot be read, or is for none of the toolboxes in `SCOPES`.
    """
    path = Path(os.path.expanduser(path))  # which leaves a home that there is not as it is
    if not path.is_file():
        raise MissingFile(f'there is no config {path}{_similar_config(path)}')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program
        raise UserError(f'config {path} cannot be read: {type(error).__name__}: {error}') from error
    if (scope := cfg.get('default_scope')) not in [*SCOPES]:
        raise UserError(f'config {path}: default_scope={scope!r}; the tools run configs of {", ".join(SCOPES)}')
    for key in cfg:
        meant = None if key in RUNNER_KEYS else _meant(key, RUNNER_KEYS, 0.8)
        if meant and not _made_of(cfg.get(meant), cfg[key]):
            said = f'config {path}: nothing reads {key!r}; did you mean {meant}?'
            if not key.startswith(meant):
                raise UserError(said)
            logger.warning(said)  # it may be a variable that others are made of
    _check_parts(cfg)
    return cfg


def _check_parts(cfg: Config) -> None:
    """Check that the parts of a config are dicts, lists of dicts or text where MMEngine takes nothing else.

    Raises:
        UserError: One is something else.
    """
    for name in (*FILLED, *DICTS, *SEVERAL):
        value = cfg.get(name)
        several = name in SEVERAL and isinstance(value, (list, tuple))
        for part in value if several else [value]:
            if part is not None and not isinstance(part, Mapping) or part == {} and name in FILLED:
                kinds = 'a dict or a list of dicts' if name in SEVERAL else 'a dict, and not an empty one'
                raise UserError(f'config {cfg.filename}: {name}={value!r} must be {kinds}')
            if part and name in EVALUATORS and 'type' not in part:
                raise UserError(f'config {cfg.filename}: {name}={part} has no type, such as CocoMetric')
    for name in ('backbone', 'train_cfg', 'test_cfg'):
        if not isinstance(part := (cfg.get('model') or {}).get(name), (Mapping, type(None))):
            raise UserError(f'config {cfg.filename}: model.{name}={part!r} must be a dict')
    if not isinstance(cfg.get('load_from'), (str, type(None))):
        raise UserError(f'config {cfg.filename}: load_from={cfg.load_from!r} must be a path or None')


def _similar_config(path: Path) -> str:
    known = [file for file in sorted(config_dir().rglob('*.py')) if '_base_' not in file.parts]
    names = difflib.get_close_matches(f'{path.stem}.py', {file.name for file in known}, n=3)
    near = [file for name in names for file in known if file.name == name]
    near.sort(key=lambda file: file.parent.name != path.parent.name)  # those of the same task first
    return '; did you mean ' + ' or '.join(map(str, near[:3])) + '?' if near else ''


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Apply `--cfg-options`, in place.

    A key that is new to the config is allowed and noted, since many options are not written out, unless it looks
    mistyped: at the top it must be known to MMEngine's Runner, below it must not resemble a key that is there.

    Args:
        cfg: The config.
        options: {dotted key: value}; list elements are named by their index.

    Raises:
        UserError: A key looks mistyped, or leads through something that is neither dict nor list, or is that of a dict.
    """
    for key, value in options.items():
        note = _check_key(cfg, key, value)
        try:
            cfg.merge_from_dict({key: value})
        except (KeyError, TypeError) as error:
            raise UserError(f'--cfg-options {key}: {error.args[0] if error.args else error}') from error
        if note:
            logger.warning(note)


def _check_key(cfg: Config, key: str, value: object) -> str | None:
    """A note if `key` is new to the config; an error if it looks mistyped, or the value cannot take its place."""
    node, done = cfg._cfg_dict, []
    for part in key.split('.'):
        where = '.'.join(done)
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise UserError(
                    f'--cfg-options {key}: {where} is a list of {len(node)}, {part!r} is not one of its elements'
                )
            node = node[int(part)]
        elif isinstance(node, Mapping):
            if part not in node:
                if meant := _meant(part, node):
                    raise UserError(f'--cfg-options {key}: did you mean {".".join([*done, meant])}?')
                if not done and part not in RUNNER_KEYS:
                    raise UserError(f'--cfg-options {key}: the config has no {part!r}; it has {few(node, 100)}')
                return f'--cfg-options {key}: new, the config had no {part!r}' + (f' in {where}' if where else '')
            node = node[part]
        elif node is None:
            return None
        else:
            raise UserError(f'--cfg-options {key}: {where} is {node!r}, which has no keys')
        done.append(part)
    if isinstance(node, Mapping) and not isinstance(value, (Mapping, bool, type(None))):
        raise UserError(f'--cfg-options {key}: it is a dict with the keys {few(node)}, and cannot become {value!r}')
    return None


def _meant(key: str, known: Collection[str], like: float = 0.85) -> str | None:
    """Which known key a key is a mistyped form of, at least so much alike."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=like)
    return near[0] if near and _same_words(key, near[0]) else None


def _made_of(part: object, variable: object) -> bool:
    """Whether a part of a config is a variable's value, or holds all of it, such as `dict(evaluator, ann_file=...)`."""
    if isinstance(part, Mapping) and isinstance(variable, Mapping) and variable:
        return all(key in part and part[key] == value for key, value in variable.items())
    return part == variable


def _same_words(key: str, other: str) -> bool:
    """Whether no word of a key is another one: `class_weight` is no mistyped `loss_weight`."""
    words = key.split('_'), other.split('_')
    return len(words[0]) != len(words[1]) or all(
        sorted(one) == sorted(two) or difflib.SequenceMatcher(None, one, two).ratio() > 0.7
        for one, two in zip(*words, strict=True)
    )


def require(cfg: Config, *keys: str) -> None:
    """Check that a config has what a run needs.

    Raises:
        UserError: A key is missing, or None.
    """
    if missing := [key for key in keys if cfg.get(key) is None]:
        raise UserError(f'config {cfg.filename} has no {", ".join(missing)}, which this needs')


def kind(part: Mapping) -> str:
    """The type that a part of a config names, without its scope."""
    return getattr(part['type'], '__name__', str(part['type'])).split('.')[-1]


def nodes(config: object) -> Iterator[dict]:
    """The dict `config` and all dicts in it."""
    if isinstance(config, dict):
        yield config
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for item in config:
            yield from nodes(item)


def datasets(cfg: Mapping[str, Any], loaders: Sequence[str] = LOADERS) -> dict[str, dict]:
    """The configs of the data sets that loaders read, inside of wrappers such as RepeatDataset, by their places."""
    found, waiting = {}, [(f'{loader}.dataset', cfg[loader].get('dataset')) for loader in loaders if cfg.get(loader)]
    while waiting:
        where, dataset = waiting.pop(0)
        if not isinstance(dataset, Mapping):
            continue  # building tells
        inner = {f'{where}.datasets.{index}': item for index, item in enumerate(dataset.get('datasets', ()))}
        if 'dataset' in dataset:
            inner[f'{where}.dataset'] = dataset['dataset']
        waiting += inner.items()
        if not inner:
            found[where] = dataset
    return found


def evaluators(cfg: Config, names: tuple[str, ...] = EVALUATORS) -> Iterator[dict]:
    """The configs of the metrics of validation and testing."""
    for name in names:
        metrics = cfg.get(name) or []
        yield from metrics if isinstance(metrics, (list, tuple)) else [metrics]


def set_data_root(cfg: Config, root: str | Path) -> None:
    """Move the data of a config to another folder, in place: images, annotations and the evaluators' files.

    Raises:
        UserError: The config's data sets have no `data_root`, or more than one, so what to move is unclear.
    """
    old = {dataset.get('data_root') for dataset in datasets(cfg).values()}
    if len(old) != 1 or None in old:
        raise UserError(f'--data-root: the data sets of the config have the data_root {sorted(map(str, old))}, not one')
    old, new = old.pop().rstrip('/') + '/', f'{Path(root).expanduser()}/'
    for part in (*datasets(cfg).values(), *evaluators(cfg)):
        for key, value in part.items():
            if isinstance(value, str) and f'{value}/'.startswith(old):
                part[key] = new + value[len(old) :]


def import_toolbox(cfg: Config) -> None:
    """Import the config's toolbox and mmcv's operators, so that what is missing is reported at once.

    Raises:
        UserError: The toolbox or mmcv's compiled operators cannot be imported, or their versions do not fit.
    """
    for module in (cfg.default_scope, f'{cfg.default_scope}.datasets', 'mmcv.ops'):
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                import_module(module)
        except (ImportError, AssertionError) as error:  # the toolboxes assert their versions
            raise UserError(
                f'{module} cannot be imported: {error}. This config needs {cfg.default_scope} and mmcv with its '
                f'compiled operators: pip install "mmiformer[{SCOPES[cfg.default_scope]}]", as docs/install.md tells'
            ) from error
        finally:  # the forks print that a product of their makers is not installed
            for line in printed.getvalue().splitlines():
                if 'OneDL' not in line:
                    print(line)
