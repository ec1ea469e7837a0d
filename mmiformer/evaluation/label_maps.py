"""Writing the segmentations of a test as label files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from PIL import Image

from ..errors import UserError
from ..inference.sources import unique_names


class LabelMaps(BaseMetric):
    """Write each prediction as a PNG of one byte per pixel, with the values of the data set's own label files.

    `IoUMetric`'s `output_dir` drops subfolders, wraps values above 255, and knows nothing of a selection of classes.

    Args:
        dataset: The data set to be tested.
        folder: Where the files go. They are called as the images, with their subfolders below the deepest folder that
            holds all images.

    Raises:
        UserError: The values of the classes do not fit a byte.
    """

    def __init__(self, dataset: BaseDataset, folder: Path):
        super().__init__()
        self._values = label_values(dataset)
        if self._values.max(initial=0) > 255:
            raise UserError(
                f'--dump writes one byte per pixel, too few for the {len(self._values)} classes of the data set, '
                f'whose label files have values up to {self._values.max()}'
            )
        images = list(dict.fromkeys(dataset.get_data_info(index)['img_path'] for index in range(len(dataset))))
        paths = [Path(os.path.abspath(image)) for image in images]
        root = os.path.commonpath([path.parent for path in paths])
        names = unique_names([path.relative_to(root) for path in paths])
        self._files = {image: folder / f'{name}.png' for image, name in zip(images, names, strict=True)}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Write the predictions of a batch."""
        for sample in data_samples:
            path = self._files[sample['img_path']]
            path.parent.mkdir(parents=True, exist_ok=True)
            answer = sample['pred_sem_seg']['data'][0].cpu().numpy()
            Image.fromarray(self._values[answer].astype(np.uint8)).save(path)
            self.results.append(path.name)

    def compute_metrics(self, results: list) -> dict:
        """No figures."""
        return {}


def label_values(dataset: BaseDataset) -> np.ndarray:
    """The value that each class of the network has in the label files of a data set of mmseg.

    It undoes what the loading does: with `reduce_zero_label` it counts one less, and with a selection of the classes
    those are numbered anew.
    """
    old = np.arange(len(dataset.metainfo['classes']))
    if label_map := dataset.metainfo.get('label_map'):
        values = {new: value for value, new in label_map.items()}
        old = np.array([values[number] for number in old])
    return old + bool(dataset.metainfo.get('reduce_zero_label'))
