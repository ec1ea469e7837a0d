"""The classes and their order: one fact, which data sets, checkpoint and annotation files repeat."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import few
from .dataset import DataConfig
from .findings import Finding

CHECKPOINT = 'the checkpoint'


def recorded_meta(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint records of the data that it was trained on, such as `classes` and `palette`."""
    meta = {key.lower(): value for key, value in (checkpoint.get('meta') or {}).items()}
    recorded = meta.get('dataset_meta') or meta
    if isinstance(recorded, (list, tuple)):  # of several data sets
        recorded = recorded[0] if recorded else {}
    return {key.lower(): value for key, value in recorded.items()}


def named_classes(data: Mapping[str, DataConfig]) -> dict[str, list[str]]:
    """The classes of the data sets that have any, by place."""
    found = {where: one.classes for where, one in data.items()}
    return {where: list(classes) for where, classes in found.items() if classes and not isinstance(classes, str)}


def check_metainfo(where: str, data: DataConfig, drawn: bool) -> Iterator[Finding]:
    """Check the `metainfo` of a data set in itself: its keys, and a color for each class.

    Args:
        where: Its place in the config.
        data: The data set.
        drawn: Whether a hook draws predictions on it.
    """
    given, meta = data.config.get('metainfo') or {}, data.meta
    for key in given:
        near = difflib.get_close_matches(key.lower(), ('classes', 'palette'), 1, 0.8)
        if near and near[0] not in given:
            yield Finding('error', where, f'metainfo.{key} is not read by the toolbox', f'Call it {near[0]}.')
    classes, palette = meta.get('classes'), meta.get('palette')
    if isinstance(classes, str):
        yield Finding(
            'error',
            where,
            f'metainfo.classes is the string {classes!r}: neither a tuple of names nor a file with one on each line',
            f'A tuple of one name needs a comma: classes=({classes!r},).',
        )
        return
    if len(classes or ()) == 1 and data.is_a('BaseSegDataset'):
        yield Finding(
            'error',
            where,
            f'{classes[0]!r} is the only class, so every pixel is right',
            "Name the rest, too: classes=('background', ...), 0 and 1 in the label maps, and num_classes=2.",
        )
    if not classes or not palette or isinstance(palette, str) or isinstance(palette[0], int):
        return  # drawn in other ways
    selected = data.is_a('BaseSegDataset') and data.known_classes and 'palette' not in given
    if len(palette) < len(classes) or data.is_a('BaseSegDataset') and len(palette) > len(classes) and not selected:
        fix = f'Give metainfo.palette a color for each of the {len(classes)} classes, or leave it out.'
        if 'palette' not in given:
            fix = f'Add metainfo.palette with a color for each of the {len(classes)} classes.'
        what = f'{len(classes)} classes and a palette of {len(palette)} colors'
        # MMDetection counts colors when it draws, MMSegmentation when it builds the data set.
        yield Finding('error' if drawn or data.is_a('BaseSegDataset') else 'warning', where, what, fix)


def compare_classes(
    reference: tuple[str, Sequence[str]], others: Mapping[str, Sequence[str]], detection: bool, used: Sequence[str]
) -> Iterator[Finding]:
    """Compare classes with those of one place.

    Args:
        reference: That place, and its classes.
        others: {place: classes}.
        detection: Whether labels are numbered by annotation files, not by label maps.
        used: Places that the run reads, where a difference is an error.
    """
    place, classes = reference
    for where, other in others.items():
        if what := difference(classes, other):
            yield Finding(
                'error' if where in used else 'warning',
                where,
                f'its classes are not those of {place}: {what}',
                _fix(place, classes, where, other, detection),
            )


def check_loaded(checkpoint: Mapping[str, Any], data: Mapping[str, DataConfig]) -> Iterator[Finding]:
    """Check the weights that a training starts from: a head that fits must have learned the same classes."""
    recorded = recorded_meta(checkpoint).get('classes') or ()
    for where, classes in named_classes(data).items():
        if len(recorded) == len(classes) and (what := difference(recorded, classes)):
            yield Finding(
                'warning',
                'load_from',
                f'its heads fit, but its classes are not those of {where}: {what}',
                'If the heads are to go on learning, bring the classes into its order.',
            )
            return


def difference(classes: Sequence[str], others: Sequence[str]) -> str:
    """How `others` are not the classes, in the same order; '' if they are. Case and underscores do not matter."""
    ours, theirs = [*map(_plain, classes)], [*map(_plain, others)]
    if ours == theirs:
        return ''
    if sorted(ours) == sorted(theirs):
        label = next(label for label, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
        return f'the same {len(ours)} in another order, label {label} is {others[label]!r} and there {classes[label]!r}'
    missing = [name for name in classes if _plain(name) not in theirs]
    added = [name for name in others if _plain(name) not in ours]
    parts = [f'{len(others)} for {len(classes)}']
    parts += [f'{len(missing)} are missing ({few(missing)})'] if missing else []
    parts += [f'{len(added)} are new ({few(added)})'] if added else []
    return ', '.join(parts)


def _plain(name: str) -> str:
    return re.sub(r'[\s_-]+', ' ', str(name).strip().casefold())


def _fix(place: str, classes: Sequence[str], where: str, others: Sequence[str], detection: bool) -> str:
    if {*map(_plain, classes)} != {*map(_plain, others)}:
        return (
            f'Name all {len(classes)} classes of {place}, in its order, in metainfo.classes'
            + (' and `categories` of the annotation file' if detection else '')
            + ', even those that never occur; or train for the others.'
        )
    if detection:
        return (
            f'Labels count in the order of `categories` in the annotation file. In the file of {where} and in its '
            f"evaluator's bring them into the order {few(classes, 10)}, keep their ids, and write metainfo.classes so."
        )
    return (
        'If its label maps give each class the number that it has there, write metainfo.classes in that order; if not, '
        'renumber the label maps too.'
    )
