"""Weight files that somebody has tampered with: read or refused in one message, nothing run, no memory taken."""

import collections
import os
import warnings
from pathlib import Path

import pytest

from mmiformer import checkpoint
from mmiformer.errors import UserError

from .tampered import CANARY, tampered

FILES = collections.defaultdict(list)
for one in tampered():
    FILES[one.kind].append(one)


def peak() -> int:
    """The most memory that this process has had since `forget_peak`, in bytes."""
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    Path('/proc/self/clear_refs').write_text('5')


def test_there_are_hundreds_of_them_no_two_alike():
    files = [file for files in FILES.values() for file in files]
    assert (
        len({(file.kind, file.place) for file in files}) == len({file.content for file in files}) == len(files) >= 350
    )
    assert sum(file.fails for file in files) >= 250


@pytest.mark.parametrize('kind', FILES)
def test_each_is_read_or_refused(tmp_path, monkeypatch, unpickler, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'w.pth'
    wrong = []
    for file in FILES[kind]:
        path.write_bytes(file.content)
        forget_peak()
        before = peak()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # torch's, of protocols and of TorchScript
                content, message = checkpoint.load(path), ''
            ended = 'a dict' if isinstance(content, dict) and not file.fails else 'read'
            del content
        except UserError as error:
            message = str(error)
            ended = 'a message' if message.startswith(str(path)) and len(message) < 1000 else message
        if ended not in ('a dict', 'a message'):
            wrong.append((file.place, ended))
        if (more := peak() - before) > 32e6:
            wrong.append((file.place, f'took {more} bytes'))
        if os.path.exists(CANARY):
            wrong.append((file.place, 'ran'))
            os.remove(CANARY)
    assert not wrong
