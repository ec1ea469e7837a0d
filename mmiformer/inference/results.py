"""Writing predictions: pictures, label maps, and one JSON file in COCO's layout."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
from mmengine.structures import BaseDataElement, InstanceData
from PIL import Image

from ..errors import UserError
from ..files import whole_file
from .painter import Color
from .sources import BrokenSource, Source

# The subfolders of the results.
PARTS = ('pictures', 'labels')
# The numbers between 1 and 90 that COCO gives to no category.
COCO_GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def category_ids(classes: Sequence[str]) -> list[int]:
    """The ids of detection's classes: COCO's own for COCO's 80, else 1, 2, 3, ..."""
    from mmdet.datasets import CocoDataset

    if list(classes) == list(CocoDataset.METAINFO['classes']):
        return [number for number in range(1, 91) if number not in COCO_GAPS]
    return list(range(1, len(classes) + 1))


def to_coco(instances: InstanceData, ids: Sequence[int]) -> list[dict]:
    """Detections in COCO's results format, without their image.

    Args:
        instances: `bboxes` (N, 4) as x1 y1 x2 y2 in pixels, `labels` (N,), `scores` (N,), perhaps `masks` (N, H, W).
        ids: The category of each label.

    Returns:
        `{category_id, bbox (x y w h), score, area, iscrowd}`, and with masks their run lengths as `segmentation`.
    """
    from pycocotools import mask as rle  # comes with mmdet, and mmseg does without

    found = []
    boxes = instances.bboxes.tolist()
    masks = instances.get('masks', [None] * len(boxes))
    for (x1, y1, x2, y2), label, score, mask in zip(
        boxes, instances.labels.tolist(), instances.scores.tolist(), masks, strict=True
    ):
        detection = dict(category_id=ids[label], bbox=[x1, y1, x2 - x1, y2 - y1], score=score, iscrowd=0)
        if mask is None:
            detection['area'] = (x2 - x1) * (y2 - y1)
        else:
            runs = rle.encode(np.asfortranarray(mask, np.uint8))
            detection['area'] = int(rle.area(runs))
            detection['segmentation'] = dict(size=runs['size'], counts=runs['counts'].decode())
        found.append(detection)
    return found


def write_label(path: Path, label: np.ndarray, palette: Sequence[Color]) -> None:
    """Write a label map as a PNG with a palette.

    Args:
        path: The file.
        label: (H, W), values 0 to 255.
        palette: A color (R, G, B) for each value.
    """
    image = Image.fromarray(label.astype(np.uint8))
    image.putpalette([channel for color in palette for channel in color])  # makes it mode P
    with whole_file(path, sync=False) as part:
        image.save(part)


class PredictionFile:
    """A JSON file in COCO's layout, written as predictions come, so that a long video needs no memory.

    It appears, complete, when the `with` block ends, in whatever way that ends.

    Args:
        path: The file.
        info: What it says about the run.
        categories: The classes.
    """

    def __init__(self, path: Path, info: Mapping, categories: Sequence[Mapping]):
        self._path, self._open = path, ExitStack()
        self._images: list[dict] = []
        self._annotations = 0
        self._head = f'{{"info": {json.dumps(info)},\n"categories": {json.dumps(list(categories))},\n"annotations": ['

    def __enter__(self) -> 'PredictionFile':
        part = self._open.enter_context(whole_file(self._path))
        self._file = self._open.enter_context(part.open('w'))
        self._file.write(self._head)
        return self

    def add(self, image: Mapping, annotations: Sequence[Mapping] = ()) -> None:
        """Add an image, whose id is set here, and what was found in it."""
        image_id = len(self._images) + 1
        self._images.append(dict(id=image_id, **image))
        for annotation in annotations:
            self._file.write(',\n' if self._annotations else '\n')
            self._annotations += 1
            self._file.write(json.dumps(dict(id=self._annotations, image_id=image_id, **annotation)))

    def __exit__(self, *_) -> None:
        images = ',\n'.join(json.dumps(image) for image in self._images)
        with self._open:
            self._file.write(f'],\n"images": [\n{images}]}}\n')


class Results:
    """The folder of the results of a run: `predictions.json`, `pictures/`, and for segmentation `labels/`.

    Use it as a context manager: the end of the `with` block completes the file and the videos.

    Args:
        folder: The folder; it is made if need be.
        classes: Names.
        palette: A color (R, G, B) for each class.
        segments: Whether label maps are to be written, not detections.
        info: What the file says about the run.

    Raises:
        UserError: There are more classes than the pixel values of a PNG with a palette.
    """

    def __init__(self, folder: Path, classes: Sequence[str], palette: Sequence[Color], segments: bool, info: Mapping):
        if segments and len(classes) > 256:
            raise UserError(f'a label PNG with a palette has 256 values, too few for {len(classes)} classes')
        self.folder, self._palette = folder, palette
        self._ids = range(len(classes)) if segments else category_ids(classes)
        categories = [
            dict(id=number, name=name, color=[int(channel) for channel in color])
            for number, name, color in zip(self._ids, classes, palette, strict=True)
        ]
        self._file = PredictionFile(folder / 'predictions.json', info, categories)
        self._videos: dict[Source, cv2.VideoWriter] = {}

    def __enter__(self) -> 'Results':
        self._file.__enter__()
        return self

    def __exit__(self, *error) -> None:
        for source in list(self._videos):
            self.finish(source)
        self._file.__exit__(*error)

    def add(
        self,
        source: Source,
        sample: BaseDataElement,
        picture: np.ndarray,
        frame: int | None = None,
        fps: float = 0,
    ) -> None:
        """Write the prediction of an image or of a frame.

        Args:
            source: The image or the video.
            sample: What was predicted.
            picture: (H, W, 3), BGR: the image with the prediction drawn in.
            frame: Number of a video's frame, from 0.
            fps: Frames per second of a video.

        Raises:
            BrokenSource: The picture has too many pixels on one side.
            OSError: It cannot be written.
        """
        height, width = picture.shape[:2]
        path = self.folder / picture_file(source)
        if frame is None:
            there, jpeg = cv2.imencode('.jpg', picture)
            if not there:
                raise BrokenSource(f'({width} x {height}) cannot be drawn on: a JPEG has at most 65500 pixels a side')
            with whole_file(path, sync=False) as part:
                part.write_bytes(jpeg)
        else:
            if source not in self._videos:
                self._videos[source] = self._open_video(path, fps, (width, height))
            self._videos[source].write(picture)

        image = dict(file_name=source.file.as_posix(), height=height, width=width)
        if frame is not None:
            image['frame_id'] = frame
        if 'pred_sem_seg' in sample:
            image['label_file'] = label_file(source, frame)
            write_label(self.folder / image['label_file'], sample.pred_sem_seg.data[0].numpy(), self._palette)
            self._file.add(image)
        else:
            self._file.add(image, to_coco(sample.pred_instances, self._ids))

    def _open_video(self, path: Path, fps: float, size: tuple[int, int]) -> cv2.VideoWriter:
        path.parent.mkdir(parents=True, exist_ok=True)
        video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), fps, size)
        if not video.isOpened():
            raise OSError(f'{path} cannot be written: this OpenCV does not write MP4')
        return video

    def finish(self, source: Source) -> None:
        """Complete the results of a source; there may be none."""
        if source in self._videos:
            self._videos.pop(source).release()


def picture_file(source: Source) -> str:
    """Where the picture, or the video, of a source goes, below the folder of the results."""
    return f'pictures/{source.name}.{"mp4" if source.is_video else "jpg"}'


def label_file(source: Source, frame: int | None = None) -> str:
    """Where the label map of a source, or of a video's frame, goes, below the folder of the results."""
    return f'labels/{source.name}.png' if frame is None else f'labels/{source.file.as_posix()}/{frame:06d}.png'
