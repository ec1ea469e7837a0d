"""Reading, writing and fetching weight files. Knows nothing of models.

A weight file is a program to Python's unpickler, so files are read with torch's weights-only unpickler and a short list
of harmless types, which is all that the published files and MMEngine's checkpoints need.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch import Tensor

from .download import download

_RELEASED = 'https://github.com/ChuanyangZheng/iFormer/releases/download/v0.9/'
_HUB = 'https://huggingface.co/'


@dataclass(frozen=True)
class Published:
    """A published weight file.

    Attributes:
        name: What the file is called here; `load`, `init_cfg` and the tools take it for the file.
        task: 'imagenet', 'coco' (Mask R-CNN 1x) or 'ade20k' (Semantic FPN 40k).
        arch: The variant, as in `IFormer(arch=...)`.
        urls: Where it is to be had, tried in this order.
        distilled: Whether the ImageNet training it comes from was distilled.
        result: What was published for it, in percent (Tables 3, 4, 5, 8, 12 and 13).
    """

    name: str
    task: str
    arch: str
    urls: tuple[str, ...]
    distilled: bool
    result: dict[str, float] = field(hash=False)


def _released(name: str, task: str, arch: str, distilled: bool, **result: float) -> Published:
    urls = (_RELEASED + name, f'{_HUB}BillionZheng/iFormer/resolve/main/{name}')
    return Published(name, task, arch, urls, distilled, result)


def _timm(model: str, arch: str, distilled: bool, top1: float) -> Published:
    # On the hub every file is called model.safetensors.
    url = f'{_HUB}timm/{model}.in1k/resolve/main/model.safetensors'
    return Published(f'{model}.in1k.safetensors', 'imagenet', arch, (url,), distilled, dict(top1=top1))


_FILES = (
    _released('iFormer_t.pth', 'imagenet', 't', False, top1=74.1),
    _released('iFormer_s.pth', 'imagenet', 's', False, top1=78.8),
    _released('iFormer_m.pth', 'imagenet', 'm', False, top1=80.4),
    _released('iFormer_l.pth', 'imagenet', 'l', False, top1=81.9),
    _released('iFormer_h.pth', 'imagenet', 'h', False, top1=84.8),
    _released('iFormer_m_distill.pth', 'imagenet', 'm', True, top1=81.1),
    _released('iFormer_l_distill.pth', 'imagenet', 'l', True, top1=82.7),
    _released('iFormer_l2_distill.pth', 'imagenet', 'l2', True, top1=83.9),
    _released('iFormer_m_epoch_12.pth', 'coco', 'm', True, box_AP=40.8, mask_AP=37.9),
    _released('iFormer_l_epoch_12.pth', 'coco', 'l', True, box_AP=42.2, mask_AP=39.1),
    _released('iFormer_l2_epoch_12.pth', 'coco', 'l2', True, box_AP=44.6, mask_AP=41.1),
    _released('iFormer_m_iter_40000.pth', 'ade20k', 'm', True, mIoU=42.4),
    _released('iFormer_l_iter_40000.pth', 'ade20k', 'l', True, mIoU=44.5),
    _released('iFormer_l2_iter_40000.pth', 'ade20k', 'l2', True, mIoU=46.2),
    _timm('iformer_t', 't', False, 74.1),
    _timm('iformer_s', 's', False, 78.8),
    _timm('iformer_m', 'm', False, 80.4),
    _timm('iformer_l', 'l', False, 81.9),
    _timm('iformer_h', 'h', False, 84.8),
    _timm('iformer_m_distilled', 'm', True, 81.1),
    _timm('iformer_l_distilled', 'l', True, 82.7),
    _timm('iformer_l2_distilled', 'l2', True, 83.9),
)
PUBLISHED: Mapping[str, Published] = {file.name: file for file in _FILES}


def _history_method(owner: Any, name: str) -> Any:
    """Stands in for `getattr`, by which a pickled `HistoryBuffer` refers to its own four statistics."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    raise pickle.UnpicklingError(f'GLOBAL getattr({getattr(owner, "__name__", owner)},{name}) is not allowed')


def _harmless() -> list:
    """The types a weight file may hold beside tensors and Python's own; (object, name) where a file names it so."""
    core = np._core if hasattr(np, '_core') else np.core
    # NumPy 2 renamed its core; files name the module of the NumPy that wrote them.
    arrays = [
        (getattr(core.multiarray, name), f'numpy.{module}.multiarray.{name}')
        for name in ('_reconstruct', 'scalar')
        for module in ('core', '_core')
    ]
    numbers = [np.bool_, *(np.dtype(code).type for code in 'bhilqBHILQefd')]
    return [
        argparse.Namespace,
        HistoryBuffer,
        (_history_method, 'builtins.getattr'),
        np.ndarray,
        np.dtype,
        *{type(np.dtype(number)) for number in numbers},
        *arrays,
    ]


@contextmanager
def _allow_only(types: list) -> Iterator[None]:
    """Let torch's unpickler make `types` and nothing that another library has allowed (MMEngine allows `getattr`)."""
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(types)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)


def load(source: str | os.PathLike, map_location: str | torch.device = 'cpu', trust: bool = False) -> dict:
    """Read a weight file without running anything in it.

    Args:
        source: A path; a URL; or a name in `PUBLISHED`. The latter two are fetched once into torch's cache
            (`torch.hub.get_dir()`/checkpoints), where a file that is already there is taken as it is.
        map_location: The device that the tensors go to.
        trust: Unpickle whatever the file holds. Such a file can run any code on this machine.

    Returns:
        What the file holds, mostly `{'state_dict': ...}` or `{'model': ...}`, or {key: tensor} itself.

    Raises:
        FileNotFoundError: There is no such file, or it cannot be fetched.
        ValueError: The file is damaged, is no weight file, or holds what only `trust` lets in.
        ImportError: It is a safetensors file and the package safetensors is missing.
    """
    path = locate(source)
    with path.open('rb') as file:
        start = file.read(9)
    if start[8:] == b'{':  # a length, then a JSON header
        return _load_safetensors(path, map_location)
    if not start.startswith((b'PK\x03\x04', b'\x80')):  # torch's archives, and its pickles from before 1.6
        what = 'a web page' if start.lstrip().startswith(b'<') else 'no weight file'
        raise _damaged(path, f'it is {what} and starts with {start!r}')
    if trust:
        return torch.load(path, map_location, weights_only=False)
    if isinstance(map_location, str | torch.device):
        torch.empty(0, device=map_location)  # a device that is not there is no fault of the file
    try:
        if torch.__version__ < (2, 6):  # knows no list of types: only files of nothing but tensors can be read
            return torch.load(path, map_location, weights_only=True)
        with _allow_only(_harmless()):
            return torch.load(path, map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r'GLOBAL (\S+)', str(error)) or re.search(r'WeightsUnpickler error:\s*(.+)', str(error))
        if not refused:
            raise _damaged(path, error) from error
        raise ValueError(
            f'{path} is refused: it holds more than weights and the harmless types beside them '
            f'({refused.group(1)}), and unpickling that could run any code. If you trust '
            'whoever made the file, read it with --trust-checkpoint (in Python: mmiformer.checkpoint.load(..., '
            'trust=True)); tools/convert_checkpoint.py then saves its weights alone for the next time'
        ) from error
    except Exception as error:  # whatever a file that was cut off or tampered with makes the unpickler do
        raise _damaged(path, error) from error


def _load_safetensors(path: Path, map_location: str | torch.device) -> dict[str, Tensor]:
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
        raise ImportError(f'{path} is a safetensors file; install its package: pip install safetensors') from error
    return safetensors


def _damaged(path: Path, error: Exception | str) -> ValueError:
    reason = (str(error).strip() or type(error).__name__).split('\n')[0].rstrip('.')
    return ValueError(
        f'{path} ({path.stat().st_size} bytes) cannot be read: {reason}. Delete it, and {path.name}.sha256 if that is '
        'beside it, and fetch it again'
    )


def save(checkpoint: dict, path: str | os.PathLike) -> None:
    """Write a weight file: safetensors, which hold tensors alone, or torch's format, as the file's ending says.

    Args:
        checkpoint: What to write; for `.safetensors` it is {key: tensor}.
        path: The file, ending in .pth, .pt or .safetensors. It appears only when it is complete.

    Raises:
        ValueError: Another ending.
        ImportError: The package safetensors is missing.
    """
    path = Path(path)
    if path.suffix not in ('.pth', '.pt', '.safetensors'):
        raise ValueError(f'{path}: a weight file ends in .pth, .pt or .safetensors')
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        if path.suffix == '.safetensors':
            tensors = {key: tensor.contiguous() for key, tensor in checkpoint.items()}
            _import_safetensors(path).torch.save_file(tensors, part, metadata={'format': 'pt'})
        else:
            torch.save(checkpoint, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def locate(source: str | os.PathLike) -> Path:
    """The local file of a path, a URL or a name in `PUBLISHED`, fetched if need be.

    Raises:
        FileNotFoundError: There is no such file, or it cannot be fetched; says from where and where to put it.
    """
    source = os.fspath(source)
    if (path := Path(source).expanduser()).is_file():
        return path
    if source in PUBLISHED:
        return _fetch(source, PUBLISHED[source].urls)
    if source.startswith(('https://', 'http://')):
        published = [file for file in _FILES if source in file.urls]
        if published:
            return _fetch(published[0].name, (source, *(url for url in published[0].urls if url != source)))
        return _fetch(Path(unquote(urlsplit(source).path)).name, (source,))
    raise FileNotFoundError(
        f'{source}: no such file{" (it is a folder)" if path.is_dir() else ""}. '
        f'Give a path, a URL, or the name of a published file: {", ".join(PUBLISHED)}'
    )


def _fetch(name: str, urls: tuple[str, ...]) -> Path:
    path = Path(torch.hub.get_dir(), 'checkpoints', name)
    if path.is_file():
        return download(urls[0], path)  # only compares it with the hash recorded at first use
    errors = []
    for url in urls:
        try:
            return download(url, path, attempts=3)
        except OSError as error:
            errors.append(str(error))
    raise FileNotFoundError(
        f'{name} cannot be fetched. Put it at {path} by hand (from {" or ".join(urls)}), or start from random weights '
        'with --no-pretrained. What went wrong:\n' + '\n'.join(errors)
    )


def use_in_mmengine(trust: bool = False) -> None:
    """Let MMEngine's Runner read its checkpoints through :func:`load`, for resuming, testing and `load_from`.

    MMEngine itself allows `getattr` and falls back to full unpickling. The tools call this before they build a Runner.

    Args:
        trust: As in :func:`load`.
    """

    def load_from_checked(filename: str, map_location: Any = None) -> dict:
        return load(filename, 'cpu' if map_location is None else map_location, trust)

    # MMEngine's log names a backend by what follows `load_from_` in its function's name.
    CheckpointLoader.register_scheme(('', 'http://', 'https://'), load_from_checked, force=True)
