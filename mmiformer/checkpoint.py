"""Reading, writing and finding weight files. Knows nothing of models.

A weight file is a program to Python's unpickler, so files are read with torch's weights-only unpickler and a short list
of harmless types, which is all that the published files and MMEngine's checkpoints need.
"""

from __future__ import annotations

import argparse
import difflib
import io
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.fileio import get_local_path
from mmengine.logging import HistoryBuffer
from mmengine.runner import (
    CheckpointLoader,
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)
from torch import Tensor

from . import stack
from .download import fetch, name_of
from .errors import MissingFile, UserError, few
from .files import whole_file
from .published import BASELINES, PUBLISHED

# What MMEngine knows by name, as 'torchvision://resnet50': {scheme: its table, {name: URL}}.
_ZOOS = {
    'open-mmlab': get_external_models,
    'openmmlab': get_external_models,
    'torchvision': get_torchvision_models,
    'modelzoo': get_torchvision_models,
    'mmcls': get_mmcls_models,
}
_STORAGE = r'(\S+\:)?s3://', r'(\S+\:)?petrel://'  # as MMEngine writes them


def _history_method(owner: Any, name: str) -> Any:
    """Stands in for `getattr`, by which a pickled `HistoryBuffer` refers to its own four statistics."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    raise pickle.UnpicklingError(f'GLOBAL getattr({getattr(owner, "__name__", owner)},{name}) is not allowed')


def _harmless() -> dict[str, Any]:
    """{name in a file: object} of what a weight file may hold beside tensors and Python's own types."""
    # NumPy 2 renamed its core; files name the module of the NumPy that wrote them.
    arrays = {
        f'numpy.{module}.multiarray.{name}': getattr(stack.numpy_core().multiarray, name)
        for name in ('_reconstruct', 'scalar')
        for module in ('core', '_core')
    }
    numbers = [np.bool_, *(np.dtype(code).type for code in 'bhilqBHILQefd')]
    types = [argparse.Namespace, HistoryBuffer, np.ndarray, np.dtype, *{type(np.dtype(number)) for number in numbers}]
    named = {f'{type.__module__}.{type.__qualname__}': type for type in types}
    return {**named, **arrays, 'builtins.getattr': _history_method}


def load(source: str | os.PathLike, map_location: str | torch.device = 'cpu', trust: bool = False) -> dict:
    """Read a weight file without running anything in it.

    Args:
        source: What :func:`locate` takes, or a file on MMEngine's remote storage (`s3://...`, `petrel://...`).
        map_location: The device that the tensors go to.
        trust: Unpickle whatever the file holds. Such a file can run any code on this machine.

    Returns:
        What the file holds, mostly `{'state_dict': ...}` or `{'model': ...}`, or {key: tensor} itself.

    Raises:
        MissingFile: There is no such file, or it cannot be fetched.
        UserError: The file is damaged, is no weight file, or holds what only `trust` lets in; or it is a safetensors
            file and the package safetensors is missing.
    """
    source = os.fspath(source)
    if any(re.match(prefix, source) for prefix in _STORAGE):
        with get_local_path(source, dict(backend='petrel')) as path:
            return _read(Path(path), map_location, trust)
    path = locate(source)
    content = _read(path, map_location, trust)
    if not isinstance(content, dict):
        raise UserError(f'{path} holds no weights: it is a {type(content).__name__}, not a dict of tensors')
    if source.startswith('mmcls://'):  # the backbones of classifiers
        weights = content.get('state_dict', content)
        weights = {key: tensor for key, tensor in weights.items() if key.startswith('backbone.')}
        return dict(state_dict={key.removeprefix('backbone.'): tensor for key, tensor in weights.items()})
    return content


def _read(path: Path, map_location: str | torch.device, trust: bool) -> dict:
    with path.open('rb') as file:
        start = file.read(9)
    if start[8:] == b'{':  # a length, then a JSON header
        return _read_safetensors(path, map_location)
    if not start.startswith((b'PK\x03\x04', b'\x80')):  # torch's archives, and its pickles from before 1.6
        what = 'a web page' if start.lstrip().startswith(b'<') else 'no weight file'
        raise _damaged(path, f'it is {what} and starts with {start!r}')
    if start.startswith(b'PK') and (damage := archive_damage(path)):
        raise _damaged(path, damage)
    if trust:
        return torch.load(path, map_location, weights_only=False)
    if isinstance(map_location, str | torch.device):
        torch.empty(0, device=map_location)  # a device that is not there is no fault of the file
    try:
        return stack.load_weights(path, map_location, _harmless())
    except pickle.UnpicklingError as error:
        refused = re.search(r'GLOBAL (\S+)', str(error)) or re.search(r'WeightsUnpickler error:\s*(.+)', str(error))
        if not refused:
            raise _damaged(path, error) from error
        raise UserError(
            f'{path} is refused: it holds more than weights and the harmless types beside them '
            f'({refused.group(1)}), and unpickling that could run any code. If you trust '
            'whoever made the file, read it with --trust-checkpoint (in Python: mmiformer.checkpoint.load(..., '
            'trust=True)); tools/convert_checkpoint.py then saves its weights alone for the next time'
        ) from error
    except Exception as error:  # whatever a file that was cut off or tampered with makes the unpickler do
        raise _damaged(path, error) from error


def archive_damage(path: Path) -> str | None:
    """What torch would not notice in an archive of its own, and load as other weights, or fill the memory with.

    Args:
        path: A file of `torch.save`, which is a zip archive from torch 1.6 on. All of it is read, 3 GB in a second.

    Returns:
        What is wrong with it, or None.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                return 'its members are compressed, which torch never does'
            if sum(member.file_size for member in members) > path.stat().st_size:
                return 'its members are larger than the file'
            if len({member.filename for member in members}) < len(members):
                return 'two of its members have the same name'
            if not any(member.CRC for member in members):  # torch can be told to compute none
                return None
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        return str(error) or type(error).__name__
    return f'the checksum of {broken} is wrong, so its bytes are not those that were written' if broken else None


def _read_safetensors(path: Path, map_location: str | torch.device) -> dict[str, Tensor]:
    safetensors = _import_safetensors(path)
    try:
        return safetensors.torch.load_file(path, str(map_location))
    except safetensors.SafetensorError as error:
        raise _damaged(path, error) from error


def _import_safetensors(path: Path) -> Any:
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise UserError(f'{path} is a safetensors file; install its package: pip install safetensors') from error
    return safetensors


def _damaged(path: Path, error: Exception | str) -> UserError:
    reason = (str(error).strip() or type(error).__name__).split('\n')[0].rstrip('.')
    size = path.stat().st_size
    return UserError(f'{path} ({size} bytes) cannot be read: {reason}. Delete it and fetch it again')


def save(checkpoint: dict, path: str | os.PathLike) -> None:
    """Write a weight file: safetensors, which hold tensors alone, or torch's format, as the file's ending says.

    Args:
        checkpoint: What to write; for `.safetensors` it is {key: tensor}.
        path: The file, ending in .pth, .pt or .safetensors. It appears only when it is complete.

    Raises:
        UserError: Another ending, or the package safetensors is missing.
        OSError: The file cannot be written.
    """
    path = Path(path)
    if path.suffix not in ('.pth', '.pt', '.safetensors'):
        raise UserError(f'{path}: a weight file ends in .pth, .pt or .safetensors')
    if path.suffix == '.safetensors':
        tensors = {key: tensor.contiguous() for key, tensor in checkpoint.items()}
        content = _import_safetensors(path).torch.save(tensors, metadata={'format': 'pt'})
    else:
        file = io.BytesIO()
        torch.save(checkpoint, file)
        content = file.getbuffer()
    with whole_file(path) as part:
        part.write_bytes(content)  # neither library says that a disk is full


def locate(source: str | os.PathLike) -> Path:
    """The local file behind the name of a weight file.

    Args:
        source: A path; a URL; a name in `PUBLISHED` or `BASELINES`; or a model of MMEngine's zoos, such as
            'torchvision://resnet50'. All but the first are fetched once into torch's cache, where a file that is
            already there is taken as it is.

    Raises:
        MissingFile: There is no such file, or it cannot be fetched; says from where, and where to put it.
        UserError: The zoo has no such model.
    """
    source = os.fspath(source)
    if (path := Path(source).expanduser()).is_file():
        return path
    if source.partition('://')[0] in _ZOOS:
        source = _zoo_url(source)
    for file in (*PUBLISHED.values(), *BASELINES.values()):
        if source == file.name or source in file.urls:
            return fetch(file.name, tuple(sorted(file.urls, key=lambda url: url != source)))  # the one asked for first
    if source.startswith(('https://', 'http://')):
        return fetch(name_of(source), (source,))
    raise MissingFile(
        f'{source}: no such file{" (it is a folder)" if path.is_dir() else ""}. '
        f'Give a path, a URL, or the name of a published file: {", ".join(PUBLISHED)}'
    )


def _zoo_url(source: str) -> str:
    scheme, _, name = source.partition('://')
    try:
        urls = _ZOOS[scheme]()
    except ImportError as error:
        raise UserError(f'{source}: {error}. Install torchvision, or give the URL of the file') from error
    if 'mmlab' in scheme:
        name = get_deprecated_model_names().get(name, name)
    if name not in urls:
        near = few(difflib.get_close_matches(name, urls) or sorted(urls))
        raise UserError(f'{source}: {scheme}:// has no such model; near it are {near}')
    return urls[name]


def use_in_mmengine(trust: bool = False) -> None:
    """Let MMEngine read every checkpoint through :func:`load`, whatever its scheme.

    MMEngine itself allows `getattr` and falls back to full unpickling. The tools call this before they build a Runner:
    it holds for `init_cfg`, `load_from` and resuming.

    Args:
        trust: As in :func:`load`.
    """

    def load_from_checked(filename: str, map_location: Any = None) -> dict:
        return load(filename, 'cpu' if map_location is None else map_location, trust)

    # MMEngine's log names a backend by what follows `load_from_` in its function's name.
    prefixes = ['', 'http://', 'https://', 'pavi://', *_STORAGE, *(f'{scheme}://' for scheme in _ZOOS)]
    CheckpointLoader.register_scheme(prefixes, load_from_checked, force=True)
