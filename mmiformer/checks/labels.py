"""What label maps hold: one channel, the size of their image, numbers of classes."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import mmcv
import numpy as np

from ..damage import is_cut, reason
from ..errors import few
from .findings import Finding
from .images import ImageLoader, ImageLook, judge_images
from .reading import Sample


@dataclass(frozen=True)
class LabelLook:
    """What a label map is.

    Attributes:
        fault: Why it cannot be read, '' if it can.
        size: Width and height.
        shape: Of the array that the pipeline reads.
        values: The numbers in it.
    """

    fault: str = ''
    size: tuple[int, int] = (0, 0)
    shape: tuple[int, ...] = ()
    values: frozenset = frozenset()


@dataclass(frozen=True)
class LabelRules:
    """What numbers mean in label maps.

    Attributes:
        number: How many classes the numbers stand for.
        reduce: Whether 0 is no class and the classes count from 1 (`reduce_zero_label`).
        ignored: Numbers of no class.
        backend: What the pipeline reads label maps with.
    """

    number: int
    reduce: bool = False
    ignored: frozenset[int] = frozenset({255})
    backend: str = 'pillow'

    @property
    def known(self) -> frozenset[int]:
        """The numbers that label maps may hold."""
        return self.ignored | frozenset(range(self.number + self.reduce))


def look_at_label(path: str, backend: str) -> LabelLook:
    """Read a label map as the pipeline does."""
    try:
        if not os.path.getsize(path):
            return LabelLook('it has 0 bytes')
        if is_cut(path):
            return LabelLook('it is cut off')
        label = np.squeeze(mmcv.imread(path, 'unchanged', backend=backend))
        if label.ndim < 2:
            return LabelLook('it is one pixel high or wide, which the toolbox does not read')
        if label.ndim != 2:
            return LabelLook('', label.shape[1::-1], label.shape)
        if label.dtype == np.uint8:
            values = np.flatnonzero(np.bincount(label.ravel(), minlength=256))
        else:
            values = np.unique(label)
        return LabelLook('', label.shape[::-1], label.shape, frozenset(values.tolist()))
    except Exception as error:  # decoders raise all kinds
        return LabelLook(reason(error))


def _look_at_pair(pair: tuple[str, str], loader: ImageLoader, backend: str, whole: bool) -> tuple[ImageLook, LabelLook]:
    return loader.look(pair[0], whole), look_at_label(pair[1], backend)


def check_labels(
    pairs: Sequence[tuple[str, str]], rules: LabelRules, loader: ImageLoader, where: str, reader: Sample
) -> Iterator[Finding]:
    """Look at the images of a data set and their label maps.

    Args:
        pairs: (image, label map).
        rules: What the numbers mean.
        loader: How the pipeline reads images.
        where: The data set's place in the config.
        reader: Which of them to look at.
    """
    picked = reader.pick(pairs)
    function = partial(_look_at_pair, loader=loader, backend=rules.backend, whole=reader.whole)
    looks = reader.look(function, picked, where)
    sizes = [None if label.fault else label.size for _, label in looks]
    images = [(path, image, size) for (path, _), (image, _), size in zip(picked, looks, sizes, strict=True)]
    yield from judge_images(images, where, reader.among(picked, pairs, 'images'), 'their label maps', True)
    labels = [(path, label) for (_, path), (_, label) in zip(picked, looks, strict=True)]
    yield from judge_labels(labels, rules, where, reader.among(picked, pairs, 'label maps'))


def judge_labels(
    labels: Sequence[tuple[str, LabelLook]], rules: LabelRules, where: str, among: str
) -> Iterator[Finding]:
    """What is wrong with label maps.

    Args:
        labels: (file, what it is).
        rules: What the numbers mean.
        where: The data set's place in the config.
        among: What was looked at, such as '200 label maps'.
    """
    if broken := {path: f'{path} ({look.fault})' for path, look in labels if look.fault}:
        what = f'{len(broken)} of {among} cannot be read: {few(broken.values(), 3)}'
        fix = 'Restore them, or remove them and their images.'
        yield Finding('error', where, what, fix, tuple(broken), len(broken) / len(labels))
    if colored := {path: ' x '.join(map(str, look.shape)) for path, look in labels if len(look.shape) not in (0, 2)}:
        examples = few((f'{path} ({shape})' for path, shape in colored.items()), 3)
        yield Finding(
            'error',
            where,
            f'{len(colored)} of {among} do not have one channel, but colors or transparency: {examples}',
            'Write the number of the class into each pixel of a PNG with one channel'
            + (", or set imdecode_backend='pillow' in LoadAnnotations." if rules.backend == 'cv2' else '.'),
            tuple(colored),
            len(colored) / len(labels),
        )
    values = frozenset().union(*(look.values for _, look in labels))
    if unknown := values - rules.known:
        files = tuple(path for path, look in labels if look.values & unknown)
        yield Finding(
            'error',
            where,
            f'{len(files)} of {among} hold numbers of no class, {few(sorted(unknown), 6)}: with {rules.number} classes '
            f'and reduce_zero_label={rules.reduce} they may hold 0 to {rules.number + rules.reduce - 1}, and '
            f'{few(sorted(rules.ignored))} for none: {few(files, 3)}',
            _way_out(values, rules, files[0]),
            files,
            len(files) / len(labels),
        )
    elif rules.reduce and values >= set(range(rules.number)) and rules.number not in values:
        yield Finding(
            'warning',
            where,
            f'the last class never occurs in {among}, and all smaller numbers do: with reduce_zero_label=True 0 is no '
            f'class, and classes count from 1 to {rules.number}',
            'If the label maps count classes from 0, set reduce_zero_label=False.',
        )
    elif not rules.reduce and values and values <= {0} | rules.ignored and rules.number > 1:
        yield Finding(
            'warning',
            where,
            f'{among} hold only {few(sorted(values))}, so one class'
            + (' and ignored pixels' if len(values) > 1 else ''),
            'If 255 is the foreground, write 1 there; 255 is for pixels to ignore.' if 255 in values else '',
        )


def _way_out(values: Collection[int], rules: LabelRules, path: str) -> str:
    """The change that mends numbers of no class."""
    if not rules.reduce and values - rules.ignored <= set(range(rules.number + 1)):
        shifted = 'set reduce_zero_label=True, for the data set and where LoadAnnotations has it.'
        if 0 in values:
            return f'If 0 is no class, {shifted} If it is one, name it in metainfo.classes and raise num_classes.'
        return f'The classes are counted from 1: {shifted}'
    if path.lower().endswith(('.jpg', '.jpeg')):
        return 'JPEG changes the numbers: write label maps as PNG.'
    return 'Write the number of its class into each pixel, or name all classes in metainfo.classes and num_classes.'
