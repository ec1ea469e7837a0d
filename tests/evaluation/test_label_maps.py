"""What a test writes of each image, held against the data set's own label files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.datasets import ADE20KDataset, BaseSegDataset
from mmseg.structures import SegDataSample

from mmiformer.errors import UserError
from mmiformer.evaluation.label_maps import LabelMaps, label_values


def dataset(root: Path, *names: str, kind: type = BaseSegDataset, **options) -> BaseSegDataset:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), np.zeros((1, 4, 3), np.uint8))
    return kind(data_prefix=dict(img_path=str(root)), pipeline=[], img_suffix='.png', **options)


def write(data: BaseSegDataset, folder: Path, answers: dict[str, list]) -> None:
    labels = LabelMaps(data, folder)
    samples = []
    for path, answer in answers.items():
        sample = SegDataSample(metainfo=dict(img_path=path))
        sample.pred_sem_seg = PixelData(data=torch.tensor([answer]))
        samples.append(sample.to_dict())
    labels.process({}, samples)


def test_subfolders_are_kept(tmp_path):
    names = ('site0/0000.png', 'site1/0000.png')
    data = dataset(tmp_path / 'images', *names, metainfo=dict(classes=('a', 'b')))
    paths = [data.get_data_info(index)['img_path'] for index in range(2)]
    write(data, tmp_path / 'out', {path: [[k, k, 0, 1]] for k, path in enumerate(paths)})
    found = {str(path.relative_to(tmp_path / 'out')) for path in (tmp_path / 'out').rglob('*.png')}
    assert found == set(names)
    for k, name in enumerate(names):
        assert cv2.imread(str(tmp_path / 'out' / name), cv2.IMREAD_UNCHANGED).tolist() == [[k, k, 0, 1]]


@pytest.mark.parametrize(
    ('number', 'reduced', 'fits'), [(256, False, True), (257, False, False), (255, True, True), (256, True, False)]
)
def test_what_does_not_fit_a_byte_is_refused(number, reduced, fits, tmp_path):
    classes = tuple(map(str, range(number)))
    data = dataset(tmp_path, 'a.png', metainfo=dict(classes=classes), reduce_zero_label=reduced)
    if fits:
        assert label_values(data).tolist() == [k + reduced for k in range(number)]
        LabelMaps(data, tmp_path)
    else:
        with pytest.raises(UserError, match=f'--dump writes one byte per pixel, too few for the {number} classes'):
            LabelMaps(data, tmp_path)


def test_a_selection_of_classes_has_the_values_of_its_label_files(tmp_path):
    data = dataset(
        tmp_path, 'a.png', kind=ADE20KDataset, metainfo=dict(classes=('sky', 'wall', 'flag')), reduce_zero_label=True
    )
    write(data, tmp_path / 'out', {data.get_data_info(0)['img_path']: [[0, 1, 2, 2]]})
    values = cv2.imread(str(tmp_path / 'out/a.png'), cv2.IMREAD_UNCHANGED)
    assert values.tolist() == [[3, 1, 150, 150]]  # objectInfo150.txt: wall is 1, sky 3, flag 150
