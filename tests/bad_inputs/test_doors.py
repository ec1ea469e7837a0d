"""Tampered weight files through every door: all of them through the quick ones, of each kind some through the tools."""

import os
import warnings

import cv2
import numpy as np
import pytest

from mmiformer.engine import recipe
from mmiformer.engine.config import read_config
from mmiformer.engine.runs import read_checkpoint, settle_seed
from mmiformer.errors import UserError
from mmiformer.models import IFormer

from ..helpers import SHALLOW
from ..tampered import CANARY, tampered
from ..tools.command import REPO
from ..tools.in_process import call

FILES = list(tampered())
SAMPLE = [one for number, one in enumerate(FILES) if number % 12 == 0] + [
    next(one for one in FILES if one.kind == kind) for kind in dict.fromkeys(one.kind for one in FILES)
]
SEM_FPN = REPO / 'configs/sem_fpn/iformer_t_40k.py'
# The command lines that read a checkpoint.
TOOLS = dict(
    convert_checkpoint='{weights} {out}.pth',
    test='{config} {weights} --work-dir {out}',
    predict='{config} {weights} {image} --out {out}',
    train='{config} --resume {weights} --work-dir {out}',
    check_imagenet='{weights} {folder}',
    export='t --checkpoint {weights} --to onnx --size 64 --out {out}',
    head_similarity='{network} {weights} {image} --out {out}.png',
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch's, of protocols and of TorchScript
        yield
    assert not os.path.exists(CANARY)


@pytest.fixture(scope='module')
def doors() -> dict:
    """{door: what takes the path of a file}, with all that is the same for each file made before."""
    network, cfg = IFormer(SHALLOW), read_config(SEM_FPN)

    def init_cfg(path):
        network.init_cfg, network.is_init = dict(type='Pretrained', checkpoint=str(path)), False
        network.init_weights()

    def resume(path):
        checkpoint = read_checkpoint(path)
        recipe.check_resumed(cfg, checkpoint)
        settle_seed(cfg, None, checkpoint)

    return dict(init_cfg=init_cfg, resume=resume)


@pytest.mark.parametrize('door', ['init_cfg', 'resume'])
def test_quick_doors(doors, tmp_path, door):
    path, wrong, refused = tmp_path / 'w.pth', [], 0
    for file in FILES:
        path.write_bytes(file.content)
        try:
            doors[door](path)
        except UserError as error:
            refused += 1
            if len(str(error)) > 2000:
                wrong.append((file.kind, file.place, 'a long message'))
        except Exception as error:
            wrong.append((file.kind, file.place, repr(error)))
    assert not wrong
    assert refused > 300


@pytest.mark.parametrize('tool', TOOLS)
def test_tools(tmp_path, monkeypatch, tool):
    cv2.imwrite('image.png', np.zeros((64, 64, 3), np.uint8))
    network = REPO / 'tests/data/before_redesign.py'
    for number, file in enumerate(SAMPLE):
        (tmp_path / 'w.pth').write_bytes(file.content)
        words = TOOLS[tool].format(
            config=SEM_FPN, network=network, weights='w.pth', image='image.png', folder=tmp_path, out=f'out{number}'
        )
        ended = call(monkeypatch, tool, *words.split())
        if ended is None and not file.fails:
            continue  # a backbone that can be converted
        assert isinstance(ended, str) and ended.startswith('error: ') and len(ended) < 3000, (file.place, ended)
