"""What a COCO annotation file refers to, what it lacks, and what the toolbox will leave out of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..datasets.coco_file import FLAT, NO_AREA, NO_MASK, RUN_LENGTHS, SHORT_FIRST, STRANGE, UNDRAWABLE, CocoFile
from ..errors import few
from .findings import Finding

OUTSIDE = 2  # pixels that a box may stick out of its image without a word
CORNERS = 0.2  # share of boxes that stick out in a file of corners instead of widths and heights; COCO has none


@dataclass(frozen=True)
class CocoUse:
    """What a file is used for.

    Attributes:
        where: The place in the config.
        filters: Whether the data set leaves out what `filter_cfg` says (not in `test_mode`).
        evaluation: Whether pycocotools evaluates by it.
        masks: Whether masks are read.
        loaded: Whether they are read by the data set's pipeline, too.
        polygons: Whether masks are kept as polygons, which leaves out run lengths (`poly2mask=False`).
        classes: Names of the classes; None for all categories.
        filter: `filter_cfg` of the data set.
    """

    where: str
    filters: bool = False
    evaluation: bool = False
    masks: bool = False
    loaded: bool = False
    polygons: bool = False
    classes: Collection[str] | None = None
    filter: Mapping[str, Any] | None = None


def check_coco_file(coco: CocoFile, use: CocoUse) -> Iterator[Finding]:
    """Check what a COCO file holds against what it is used for."""
    judge = _Judge(coco, use)
    if coco.ids and (coco.category < 0).all() and np.isnan(coco.boxes).all():
        yield judge.finding(
            'error',
            f'none of its {len(coco.ids)} annotations has a box and a category: the file seems to be of another task',
            'Take the one of the instances; those of COCO 2017 are called instances_*.json.',
        )
        return
    yield from judge.ids()
    yield from judge.fields()
    if use.masks:
        yield from judge.masks()
    yield from judge.boxes()
    if use.filters:
        yield from judge.left_out()


class _Judge:
    def __init__(self, coco: CocoFile, use: CocoUse):
        self.coco, self.use = coco, use
        chosen = np.array([use.classes is None or name in use.classes for name in coco.categories])
        self.ours = (coco.image >= 0) & (coco.category >= 0)  # of the classes
        self.ours[self.ours] = chosen[coco.category[self.ours]]
        self.parsed = (coco.image >= 0) & ~coco.ignored  # what mmdet reads boxes of
        x, y, width, height = coco.boxes.T
        image_width, image_height = coco.sizes[coco.image].T
        with np.errstate(invalid='ignore'):
            self.outside = (np.minimum(x + width, image_width) <= np.maximum(x, 0)) | (
                np.minimum(y + height, image_height) <= np.maximum(y, 0)
            )
            self.small = (width < 1) | (height < 1) | (coco.areas <= 0)
            self.sticking_out = (
                (x < -OUTSIDE)
                | (y < -OUTSIDE)
                | (x + width > image_width + OUTSIDE)
                | (y + height > image_height + OUTSIDE)
            )
            self.corners = (width > x) & (height > y) & (width <= image_width + 1) & (height <= image_height + 1)
            self.fractions = (coco.boxes >= 0).all(1) & (coco.boxes <= 1).all(1)
        self.used = self.ours & self.parsed & ~self.outside & ~self.small

    def finding(self, level: str, what: str, fix: str = '') -> Finding:
        return Finding(level, self.use.where, f'{self.coco.path}: {what}', fix)

    def some(self, chosen: np.ndarray) -> str:
        """How many annotations, and which."""
        indices = np.flatnonzero(chosen)[:4].tolist()
        return f'{chosen.sum()} of {len(chosen)} annotations (id {few([self.coco.ids[index] for index in indices], 3)})'

    def ids(self) -> Iterator[Finding]:
        """Whether each id is there once, and what refers to it finds it."""
        coco = self.coco
        for what, ids in (('images', coco.image_ids), ('categories', coco.category_ids), ('annotations', coco.ids)):
            if missing := ids.count(None):
                yield self.finding('error', f'{missing} of {len(ids)} {what} have no `id`', 'Number them from 1.')
            if len(set(ids)) < len(ids) - max(missing - 1, 0):
                twice = [one for one, times in Counter(ids).items() if times > 1 and one is not None]
                yield self.finding(
                    'error',
                    f'{len(twice)} ids of {what} are there more than once: {few(twice)}',
                    f'Give each of the {what} an id of its own, in the whole file'
                    + ('.' if what == 'annotations' else ', and correct the annotations that refer to them.'),
                )
        for what, index, ids in (
            ('image', coco.image, coco.image_ids),
            ('category', coco.category, coco.category_ids),
        ):
            if (index < 0).any():
                references = coco.references[f'{what}_id']
                unknown = {references[row] for row in np.flatnonzero(index < 0).tolist()}
                yield self.finding(
                    'error',
                    f'no {what} has the {what}_id of {self.some(index < 0)}: {few(_sorted(unknown))}',
                    _mend_references(f'{what}_id', references, ids, unknown),
                )
        if self.use.evaluation and any(type(one) is str for one in coco.ids):
            yield self.finding(
                'error', 'ids of annotations are strings, which pycocotools cannot count', 'Number them.'
            )
        elif self.use.evaluation and 0 in coco.ids:
            yield self.finding(
                'warning',
                'an annotation has the id 0, which pycocotools takes for "not found": it always counts as missed',
                'Number the annotations from 1.',
            )
        if again := len(coco.images) - len(set(coco.images)):
            yield self.finding('warning', f'{again} images name a file that another one names, too', 'Name each once.')

    def fields(self) -> Iterator[Finding]:
        """Whether what the toolbox reads is there."""
        coco = self.coco
        if unsized := np.isnan(coco.sizes).any(1).sum():
            yield self.finding(
                'error',
                f'{unsized} of {len(coco.images)} images have no `width` and `height` in numbers',
                'Write the size of the image file there, in pixels.',
            )
        if (chosen := self.parsed & np.isnan(coco.boxes).any(1)).any():
            yield self.finding(
                'error',
                f'{self.some(chosen)} have no `bbox` of four numbers',
                'Write [x, y, width, height] there, in pixels, or leave the annotation out.',
            )
        if (chosen := self.parsed & np.isnan(coco.areas)).any():
            yield self.finding(
                'error',
                f'{self.some(chosen)} have no `area` in numbers',
                'Write the area of the mask there, or width x height of the box if there is no mask.',
            )
        if self.use.evaluation and (chosen := self.ours & (coco.crowd < 0)).any():
            yield self.finding(
                'error', f'{self.some(chosen)} have no `iscrowd`, which pycocotools needs', 'Write "iscrowd": 0 there.'
            )

    def masks(self) -> Iterator[Finding]:
        """Whether masks can be read."""
        coco = self.coco
        needed = self.ours if self.use.evaluation else self.used
        if (chosen := needed & (coco.masks == NO_MASK)).any():
            yield self.finding(
                'error',
                f'{self.some(chosen)} have no `segmentation`, and the config reads masks',
                'Add the masks, or take a detector without a mask head, with_mask=False in LoadAnnotations and '
                "metric='bbox' in the evaluators.",
            )
        if (chosen := needed & np.isin(coco.masks, (FLAT, STRANGE))).any():
            yield self.finding(
                'error',
                f'{self.some(chosen)} have a `segmentation` that is neither polygons nor run lengths',
                'Write a list of polygons, [[x1, y1, x2, y2, ...], ...], even for one, or {"counts", "size"}.',
            )
        if self.use.evaluation:  # pycocotools counts an object below one pixel as it is
            chosen = needed & np.isin(coco.masks, (SHORT_FIRST, UNDRAWABLE)) | self.used & (coco.masks == NO_AREA)
        else:  # the toolbox leaves out crowds and too short polygons
            chosen = needed & np.isin(coco.masks, (NO_AREA, UNDRAWABLE)) & (coco.crowd != 1)
        if chosen.any():
            images = np.unique(coco.image[chosen]).tolist()
            found = self.use.loaded and not (chosen & ~self.used).any()  # by the pipeline, which can leave them out
            yield Finding(
                'error',
                self.use.where,
                f'{self.coco.path}: {self.some(chosen)} in {len(images)} images have no polygon with an area, of at '
                'least three points [x1, y1, x2, y2, x3, y3]' + ', or begin with a shorter one' * self.use.evaluation,
                'Write each polygon as one list of numbers, not as a list of points, and leave out smaller ones.',
                tuple(coco.images[index] for index in images),
                len(images) / len(np.unique(coco.image[needed])) if found else 0,
            )
        lengths = needed & (coco.masks == RUN_LENGTHS)
        if self.use.polygons and (chosen := lengths & (coco.crowd != 1)).any():
            yield self.finding(
                'warning',
                f'{self.some(chosen)} have run lengths as masks, which poly2mask=False leaves out',
                'Set poly2mask=True in LoadAnnotations.',
            )
        unfit = np.zeros(len(lengths), bool)
        for index in np.flatnonzero(lengths & ~np.isnan(coco.sizes[coco.image]).any(1)).tolist():
            unfit[index] = list(coco.mask_sizes[index]) != coco.sizes[coco.image[index]][::-1].tolist()
        if unfit.any():
            yield self.finding(
                'error',
                f'{self.some(unfit)} have run lengths of another `size` than [height, width] of the image',
                'Encode these masks again, in the size of the image.',
            )

    def boxes(self) -> Iterator[Finding]:
        """Whether boxes are in COCO's form."""
        boxes = self.parsed & ~np.isnan(self.coco.boxes).any(1)
        if not boxes.any():
            return
        if self.fractions[boxes].all():
            yield self.finding(
                'error',
                'all boxes lie within one pixel: they seem to be fractions of the image',
                'Write them in pixels.',
            )
        elif self.corners[boxes].all() and self.sticking_out[boxes].mean() > CORNERS:
            yield self.finding(
                'error',
                f'{self.some(boxes & self.sticking_out)} have a `bbox` that sticks out of the image, and all would fit '
                'as [x1, y1, x2, y2]',
                "Write COCO's [x, y, width, height].",
            )
        elif number := (boxes & self.sticking_out & ~self.outside).sum():
            yield self.finding('note', f'{number} boxes stick out of their image by more than {OUTSIDE} pixels')

    def left_out(self) -> Iterator[Finding]:
        """What the data set does without."""
        coco, rules = self.coco, self.use.filter or {}
        annotated = np.zeros(len(coco.images), bool)
        annotated[coco.image[self.ours]] = True
        empty = ~annotated & bool(rules.get('filter_empty_gt', False))
        small = (coco.sizes.min(1) < rules.get('min_size', 0)) & ~empty
        kept = ~empty & ~small
        on_kept = (coco.image >= 0) & kept[coco.image]
        boxes = {
            'of other categories': (coco.category >= 0) & ~self.ours,
            'to be ignored': self.ours & coco.ignored,
            'outside of their image': self.ours & self.parsed & self.outside & ~self.small,
            'smaller than a pixel or without area': self.ours & self.parsed & self.small,
            'of crowds': self.used & (coco.crowd == 1),
        }
        counts = {
            'images without annotations of the classes': empty.sum(),
            f'images below {rules.get("min_size", 0)} pixels': small.sum(),
            **{f'boxes {why}': (chosen & on_kept).sum() for why, chosen in boxes.items()},
        }
        learned = (self.used & on_kept & (coco.crowd != 1)).sum()
        left_out = ', '.join(f'{count} {what}' for what, count in counts.items() if count)
        what = (
            f'{kept.sum()} of {len(kept)} images are used and {learned} of {len(coco.ids)} boxes; left out: {left_out}'
        )
        if not kept.any() or coco.ids and not learned:
            yield self.finding('error', what, 'Correct the annotations, the classes or filter_cfg of the data set.')
        elif left_out:
            yield self.finding('note', what)
        classes = {coco.categories[index] for index in np.unique(coco.category[self.used]).tolist()}
        names = coco.categories if self.use.classes is None else self.use.classes
        if unseen := [name for name in names if name not in classes]:
            yield self.finding('note', f'{len(unseen)} classes have no box: {few(unseen)}')


def _sorted(ids: Collection) -> list:
    return sorted(ids, key=lambda one: (str(type(one)), one is not None and one))


def _mend_references(key: str, references: list, ids: list, unknown: Collection) -> str:
    """What to do about references to ids that are not there."""
    if {str(one) for one in unknown} <= {str(one) for one in ids}:
        return f'Write {key} and the ids that it means both as numbers: some are strings.'
    numbers = {one for one in references if type(one) is int}, {one for one in ids if type(one) is int}
    if key == 'category_id' and all(numbers) and min(numbers[0]) == min(numbers[1]) - 1:
        return (
            f'category_id counts from {min(numbers[0])} and the categories from {min(numbers[1])}, so most annotations '
            'may have a wrong category. Make both count alike, and look at the result with tools/browse_dataset.py.'
        )
    return f'Correct {key}, or leave these annotations out.'
