"""What is right in the command lines of which something else is wrong."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope

from mmiformer import checkpoint
from mmiformer.datasets.shapes import make_dataset
from mmiformer.datasets.sources import COCO
from mmiformer.engine.config import read_config
from mmiformer.models import IFormerClassifier

from ..tools.command import REPO

SEGMENTOR = REPO / 'tests/data/tiny_sem_fpn.py'


@pytest.fixture(autouse=True)
def no_earlier_log(monkeypatch):
    """No log of an earlier test's run, whose output is closed."""
    monkeypatch.setattr(logging.getLogger('mmiformer'), 'handlers', [])
    monkeypatch.setattr(MMLogger, '_instance_dict', type(MMLogger._instance_dict)())


@pytest.fixture(autouse=True)
def own_environment():
    """What a tool sets in this process's environment, such as where the drawn scenes are, ends with its test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope='session')
def right(tmp_path_factory) -> dict[str, Path]:
    """{what a command line calls it: path}."""
    folder = tmp_path_factory.mktemp('right')
    make_dataset(folder / 'scenes', 10, 64)
    init_default_scope('mmseg')
    model = MODELS.build(read_config(SEGMENTOR).model)
    checkpoint.save(dict(state_dict=model.state_dict(), meta={}), folder / 'w.pth')
    checkpoint.save(dict(model=IFormerClassifier('t', 6).state_dict()), folder / 'classifier.pth')
    for path in (folder / 'image.png', *(folder / f'images/{number}/1.png' for number in range(6))):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint8))
    archive = folder / 'mirror' / COCO.archives[0].path
    archive.parent.mkdir(parents=True)
    archive.write_bytes(bytes(10**6))
    scalars = folder / 'run' / '1' / 'vis_data' / 'scalars.json'
    scalars.parent.mkdir(parents=True)
    scalars.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    return dict(
        segmentor=SEGMENTOR,
        network=REPO / 'tests/data/before_redesign.py',
        weights=folder / 'w.pth',
        classifier=folder / 'classifier.pth',
        image=folder / 'image.png',
        images=folder / 'images',
        mirror=folder / 'mirror',
        ade=folder / 'scenes/ade',
        run=folder / 'run',
    )
