"""What is no config, and keys of --cfg-options with a typo: each ends with one message."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from mmiformer.engine.config import merge_options, read_config
from mmiformer.errors import UserError

from ..tools.command import REPO

DETECTION = REPO / 'configs' / 'mask_rcnn' / 'iformer_t_1x.py'
SEGMENTATION = REPO / 'configs' / 'sem_fpn' / 'iformer_t_40k.py'
MISTYPED = ('model', 'train_dataloader', 'val_dataloader', 'optim_wrapper', 'param_scheduler', 'default_hooks')


def wrong_files(folder: Path) -> dict[str, str]:
    """What a user may name where a file is to be read, by its kind."""
    binary = folder / 'binary.py'
    binary.write_bytes(bytes(range(256)))
    texts = dict(
        empty='',
        half='model = dict(',
        words='no config at all',
        raises='1 / 0',
        imports='import there_is_no_such_module',
        bare='a = 1',
        scopeless="model = dict(type='FasterRCNN')",
        scoped="default_scope = 'mmpose'",
        based="_base_ = 'there_is_no_base.py'",
        circle="_base_ = 'circle.py'",
        mistaken="_base_ = 3\ndefault_scope = 'mmdet'",
        web='<!DOCTYPE html><html></html>',
        json='{"a": 1}',
    )
    for name, text in texts.items():
        (folder / f'{name}.py').write_text(text)
    (folder / 'text.txt').write_text("default_scope = 'mmdet'")
    (folder / 'dangling.py').symlink_to(folder / 'nothing')
    (folder / 'loop.py').symlink_to(folder / 'loop.py')
    named = {path.stem: str(path) for path in folder.iterdir()}
    return named | {
        'missing': str(folder / 'missing.py'),
        'no name': '',
        'folder': str(folder),
        'below a file': str(binary / 'config.py'),
        'a name too long': 'x' * 300,
        'device': '/dev/null',
        'unreadable': '/proc/self/mem',
        'near': 'configs/mask_rcnn/iformer_n_1x.py',
        'a line break': 'a\nb.py',
        'a null': 'a\0b.py',
        'a home that is none': '~nobody_at_all/config.py',
        'another letter case': str(DETECTION).replace('iformer', 'IFORMER'),
    }


def test_what_is_no_config(tmp_path):
    files = wrong_files(tmp_path)
    assert len(files) >= 28
    for name, config in files.items():
        try:
            read_config(config)
        except (UserError, OSError) as error:  # either is one message of a command line
            assert str(error), name
        else:
            pytest.fail(name)


def typos(key: str) -> list[str]:
    """The key with a letter left out, put twice, and two of them exchanged."""
    middle = len(key) // 2
    swapped = key[: middle - 1] + key[middle] + key[middle - 1] + key[middle + 1 :]
    return [key[:middle] + key[middle + 1 :], key[:middle] + key[middle] + key[middle:], swapped]


def keys_of(config: object, prefix: str = '') -> list[str]:
    """The dotted keys of a config at every level, long enough for a typo that is recognized."""
    if isinstance(config, dict):
        items = config.items()
    elif isinstance(config, (list, tuple)):
        items = enumerate(config)
    else:
        return []
    return [
        found
        for key, value in items
        for found in ([f'{prefix}{key}'] if isinstance(key, str) and len(key) > 7 else [])
        + keys_of(value, f'{prefix}{key}.')
    ]


def mistyped(path: Path) -> dict[str, str]:
    """{option: the key that was meant} for a config's keys with one typo each."""
    found = {}
    cfg = read_config(path)._cfg_dict
    for number, key in enumerate(keys_of({name: cfg[name] for name in cfg if name in MISTYPED})):
        before, dot, last = key.rpartition('.')
        typo = typos(last)[number % 3]
        if typo != last and last[0] not in string.digits:
            found[f'{before}{dot}{typo}'] = key
    return found


@pytest.mark.parametrize('path', [DETECTION, SEGMENTATION], ids=['detection', 'segmentation'])
def test_mistyped_keys_at_every_level(path):
    options = mistyped(path)
    assert len(options) >= 50
    cfg = read_config(path)
    for option, meant in options.items():
        with pytest.raises(UserError, match='did you mean') as caught:
            merge_options(cfg, {option: 1})
        assert meant in str(caught.value)
