"""Samples that cannot be used, named by file and reason, where the toolboxes crash or stay silent."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose
from PIL import Image
from torch.utils.data import Dataset

from ..damage import begins_short, draws_area, is_cut, reason
from ..errors import UserError
from .building import reason as _told
from .config import nodes

LIMIT = 0.01


class _SampleError(UserError):
    def __init__(self, message: str):
        # torch passes an error of a loading worker on as the end of its traceback.
        super().__init__(message.rpartition(f'{type(self).__name__}: ')[2])


class BrokenSample(_SampleError):
    """A sample is broken; the message names its file and the reason."""


class WrongTransform(_SampleError):
    """A transform of the pipeline does not take its arguments, or the samples; the message names it and the reason."""


class CheckedPipeline(Compose):
    """A pipeline that looks at what its first transforms load, and names the one that fails.

    Args:
        pipeline: The pipeline.
        classes: How many classes label maps number; 0 if that is not known.
        ignored: Numbers in label maps that are no class.
        advice: What to do, for the errors; '' in training, which goes on.

    Attributes:
        left_out: What is wrong with annotations that were left out of samples, for the loop that loads them.

    Raises:
        BrokenSample: A file is missing, not readable or cut off; an image is not of the size annotated, or not of its
            label map's; the label map has colors, or numbers of no class; or, in evaluation, a mask has no area.
        WrongTransform: A later transform fails.
    """

    def __init__(self, pipeline: Compose, classes: int, ignored: frozenset[int], advice: str = ''):
        self.transforms = pipeline.transforms
        self._known = np.isin(np.arange(256), (*range(classes or 256), *ignored))
        self._advice = advice
        self.left_out: list[str] = []

    def __call__(self, results: dict) -> dict | None:
        for transform in self.transforms:
            loads = type(transform).__name__.startswith('Load')
            results = (self._load if loads else self._transform)(transform, results)
            if results is None:
                return None
        return results

    def _load(self, transform: Any, results: dict) -> dict | None:
        had = set(results)
        annotations = type(transform).__name__ != 'LoadImageFromFile'
        path = results.get('seg_map_path' if annotations else 'img_path') or results.get('img_path') or '?'
        if getattr(transform, 'with_mask', False):
            self._leave_out_masks(path, results)
        try:
            results = transform(results)
            fault = '' if results is None else self._fault(path, results, set(results) - had)
        except Exception as error:  # decoders raise all kinds
            raise BrokenSample(self._say(path, _why(path, error))) from error
        if fault:
            raise BrokenSample(self._say(path, fault))
        return results

    def _leave_out_masks(self, path: str, results: dict) -> None:
        """Let the toolbox ignore objects whose polygons have no area, as it does with fewer than three corners."""
        flat = [
            instance
            for instance in results.get('instances') or ()
            if isinstance(mask := instance.get('mask'), list)
            and (not draws_area(mask) or self._advice and begins_short(mask))
        ]
        short = all(draws_area(instance['mask']) for instance in flat)
        what = 'begins with a polygon of fewer than three points' if short else 'has no polygon with an area'
        fault = self._say(path, f'an annotation {what}')
        if flat and self._advice:
            raise BrokenSample(fault)
        if not all(instance.get('ignore_flag') for instance in flat):
            self.left_out.append(fault)
        for instance in flat:
            instance['mask'] = []

    def _transform(self, transform: Any, results: dict) -> dict | None:
        path = results.get('img_path', '?')
        try:
            return transform(results)
        except Exception as error:  # they find out here, not when they are built, what they cannot do
            name = type(transform).__name__
            raise WrongTransform(f'the transform {name} of the pipeline fails on {path}: {_told(error)}') from error

    def _say(self, path: str, fault: str) -> str:
        return f'{path}: {fault}' + (f'\n{self._advice}' if self._advice else '')

    def _fault(self, path: str, results: Mapping[str, Any], new: set[str]) -> str:
        """What is wrong with what was loaded, '' if nothing is."""
        if new & {'img', 'gt_seg_map'} and os.path.isfile(path) and is_cut(path):
            return 'it is cut off'
        if 'img' in new:
            size, annotated = results['ori_shape'][::-1], (results.get('width'), results.get('height'))
            if None not in annotated and size != annotated and _stored_size(path) != annotated:
                return f'it is {_by(size)}, and annotated as {_by(annotated)}'
        if 'gt_seg_map' in new and 'reduce_zero_label' in results:  # MMSegmentation's
            labels = results['gt_seg_map']
            if labels.ndim != 2:
                return 'its label map does not have one channel'
            if labels.shape != tuple(results['ori_shape']):
                return f'it is {_by(labels.shape[::-1])}, and its image {_by(results["ori_shape"][::-1])}'
            held = np.bincount(labels.ravel(), minlength=256) > 0
            if (held & ~self._known).any():
                unknown = np.flatnonzero(held & ~self._known) + bool(results['reduce_zero_label'])
                return f'it holds {unknown[0]}, which is no class'
        return ''


def _why(path: str, error: Exception) -> str:
    """Why a file could not be loaded."""
    if os.path.isfile(path) and not os.path.getsize(path):
        return 'it has 0 bytes'
    if os.path.isfile(path) and is_cut(path):
        return 'it is cut off'
    return 'it is no picture' if isinstance(error, AssertionError) else reason(error)  # mmcv asserts that it is one


def _by(size: tuple) -> str:
    return ' x '.join(map(str, size))


def _stored_size(path: str) -> tuple[int, int] | None:
    """Width and height as stored in a file, which its EXIF orientation may turn."""
    if not os.path.isfile(path):
        return None
    with Image.open(path) as image:
        return image.size


def ignored_numbers(cfg: Config) -> frozenset[int]:
    """Numbers in label maps that are no class."""
    return frozenset({255, *(node['ignore_index'] for node in nodes(cfg.get('model') or {}) if 'ignore_index' in node)})


def check_samples(dataset: Dataset, ignored: frozenset[int], advice: str = '') -> list[CheckedPipeline]:
    """Let a data set, in place and inside of wrappers, raise :class:`BrokenSample`.

    Args:
        dataset: The data set; one that does so already stays as it is.
        ignored: As for :class:`CheckedPipeline`.
        advice: As for :class:`CheckedPipeline`.

    Returns:
        The pipelines that do so.
    """
    pipelines = []
    for inner in innermost(dataset):
        if type(inner.pipeline) is Compose:
            classes = len(inner.metainfo.get('classes') or ())
            inner.pipeline = CheckedPipeline(inner.pipeline, classes, ignored, advice)
        if isinstance(inner.pipeline, CheckedPipeline):
            pipelines.append(inner.pipeline)
    return pipelines


def innermost(dataset: Dataset) -> Iterator[BaseDataset]:
    """The data sets inside of wrappers, or the data set itself."""
    if isinstance(dataset, BaseDataset):
        yield dataset
    for inner in (*getattr(dataset, 'datasets', ()), getattr(dataset, 'dataset', None)):
        yield from innermost(inner) if inner is not None else ()


def leave_out_broken(dataset: BaseDataset) -> list[str]:
    """Leave broken samples out of a data set, in place. Loads all of them once.

    Returns:
        What is wrong with each of them.

    Raises:
        UserError: The data set cannot leave any out; or none is left.
    """

    def fault(index: int) -> str:
        try:
            dataset[index]
        except BrokenSample as error:
            return str(error).partition('\n')[0]
        return ''

    with ThreadPoolExecutor(8) as pool:  # decoding and waiting for storage let other threads run
        faults = list(pool.map(fault, range(len(dataset))))
    broken = [text for text in faults if text]
    if broken:
        if not isinstance(dataset, BaseDataset):
            raise UserError(f'{broken[0]}\nA {type(dataset).__name__} cannot leave it out. Restore or remove it')
        if len(broken) == len(faults):
            raise UserError(f'all {len(broken)} samples of the evaluation are broken, the first: {broken[0]}')
        dataset.get_subset_([index for index, text in enumerate(faults) if not text])
    return broken
