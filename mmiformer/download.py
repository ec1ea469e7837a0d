"""Weight files from the web, into torch's cache. A file appears there whole or not at all."""

from __future__ import annotations

import os
import re
import urllib.request
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

import torch
from filelock import FileLock

from .errors import MissingFile
from .files import whole_file

TIMEOUT = 30.0  # seconds until a server that does not answer counts as out of reach
_HUB = re.compile(r'https://huggingface\.co/([^/]+/[^/]+)/resolve/([^/]+)/(.+)')


def fetch(name: str, urls: tuple[str, ...]) -> Path:
    """Fetch a file into torch's cache (`torch.hub.get_dir()`/checkpoints), unless it is there.

    Several processes may ask for the same file: one fetches it, the others wait.

    Args:
        name: What the file is called in the cache.
        urls: Where it can be fetched, tried in this order. Those of the Hugging Face hub go through `huggingface_hub`.

    Returns:
        The file's path.

    Raises:
        MissingFile: No URL has it; says what went wrong, and where to put the file by hand.
    """
    path = Path(torch.hub.get_dir(), 'checkpoints', name)
    if path.is_file():
        return path
    errors = []
    for url in urls:
        try:
            _fetch(url, path)
            return path
        except Exception as error:  # of two libraries and of those that they stand on
            errors.append(f'{url}: {str(error).strip() or type(error).__name__}')
    raise MissingFile(
        f'{name} cannot be fetched. Put it at {path} by hand (from {" or ".join(urls)}), or start from random weights '
        'with --no-pretrained. What went wrong:\n' + '\n'.join(errors)
    )


def name_of(url: str) -> str:
    """What the file behind a URL is called in the cache; on the hub 'model.safetensors' takes the repository's name."""
    match, name = _HUB.fullmatch(url), PurePosixPath(unquote(urlsplit(url).path))
    if match and name.stem in ('model', 'pytorch_model'):
        return match[1].partition('/')[2] + name.suffix
    return name.name


def _fetch(url: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f'.{path.name}.lock')):
        if path.is_file():  # another process has fetched it meanwhile
            return
        if match := _HUB.fullmatch(url):
            _from_hub(*match.groups(), path)
        else:
            _from_url(url, path)


def _from_hub(repo: str, revision: str, file: str, path: Path) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    get_hf_file_metadata(hf_hub_url(repo, file, revision=revision))  # fails at once; a download, after many retries
    with TemporaryDirectory(dir=path.parent, prefix='.hub-') as folder:
        os.replace(hf_hub_download(repo, file, revision=revision, local_dir=folder), path)


def _from_url(url: str, path: Path) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        size = answer.length
    with whole_file(path) as part:
        torch.hub.download_url_to_file(url, part)
        arrived = part.stat().st_size
        if size not in (None, arrived):  # torch takes a broken connection for the end of the file
            raise ConnectionError(f'the connection ended at {arrived} of {size} bytes')
