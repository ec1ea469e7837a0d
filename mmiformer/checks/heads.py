"""The number of classes of every head, at any depth of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..engine.config import kind
from ..errors import few
from .findings import Finding
from .parts import model_argument

# Parts whose classes are not those of the data: foreground of a region proposal network, identities, teachers; stuff of
# COCO in semantic heads beside a detector, unless they tell it from things; boundaries.
OTHER_CLASSES = ('rpn_head', 'semantic_head', 'backbone', 'neck', 'teacher', 'reid', 'data_preprocessor', 'train_cfg')
BOUNDARY_HEADS = ('STDCHead',)
COUNTS = ('num_classes', 'num_things_classes', 'num_stuff_classes')


def class_counts(model: Mapping[str, Any], scope: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The parts of a model that depend on the number of classes, by dotted path, with what their types assume."""
    waiting: list[tuple[str, Any]] = [('', model)]
    while waiting:
        path, part = waiting.pop(0)
        if isinstance(part, (list, tuple)):
            waiting += [(f'{path}.{index}', item) for index, item in enumerate(part)]
        if not isinstance(part, Mapping) or 'type' in part and kind(part) in BOUNDARY_HEADS:
            continue
        waiting += [
            (f'{path}.{key}'.strip('.'), value)
            for key, value in part.items()
            if key not in OTHER_CLASSES or isinstance(value, Mapping) and 'num_things_classes' in value
        ]
        if not any(key in part for key in COUNTS) and is_head(path, part):
            part = {**part, 'num_classes': model_argument(part, scope, 'num_classes')}
        if any(isinstance(part.get(key), int) for key in COUNTS) or isinstance(part.get('class_weight'), (list, tuple)):
            yield path, part


def check_heads(
    model: Mapping[str, Any], scope: str, meta: Mapping[str, Any], alternative: str = ''
) -> Iterator[Finding]:
    """Check that every head has the number of classes of the data.

    Args:
        model: The config's `model`.
        scope: The toolbox that the types are of.
        meta: `classes` of the data, and `thing_classes` and `stuff_classes` where it tells them apart.
        alternative: What else may mend it.
    """
    classes = meta['classes']
    things, stuff = (meta.get(key) for key in ('thing_classes', 'stuff_classes'))
    number = len(classes)
    expected = dict(
        num_classes={len(things), number} if things else {number},
        num_things_classes={len(things) if things else number},
        num_stuff_classes={len(stuff) if stuff else 0},
    )
    wrong, right = {}, []
    for path, head in class_counts(model, scope):
        for key in COUNTS:
            allowed = expected[key]
            if key == 'num_classes' and head.get('out_channels') == 1 and number == 2:
                allowed = {1, 2}
            if isinstance(head.get(key), int) and not head.get('class_agnostic'):  # one mask for all classes
                if head[key] in allowed:
                    right.append(f'{path or "model"} {head[key]}')
                else:
                    wrong['.'.join(filter(None, ('model', path, key)))] = head[key], min(allowed)
        weights = head.get('class_weight')
        if (
            isinstance(weights, (list, tuple))
            and not {len(weights) - one for one in _extra_weights(head, scope)} & (expected['num_classes'])
        ):
            last = ' + [0.1], the last for "no object"' if 0 not in _extra_weights(head, scope) else ''
            yield Finding(
                'error',
                f'model.{path}.class_weight',
                f'{len(weights)} weights for {number} classes',
                f'Give one for each class, such as [1.0] * {number}{last}.',
            )
    if wrong:
        yield Finding(
            'error',
            'model',
            f'{", ".join(f"{key[6:]}={value}" for key, (value, _) in wrong.items())}, but {number} classes: '
            + few(classes),
            f'Set {" ".join(f"{key}={value}" for key, (_, value) in wrong.items())}{alternative}.',
        )
    elif right:
        yield Finding('fact', 'model', f'heads for {number} classes: {few(right, 6)}')


def check_one_channel(model: Mapping[str, Any], scope: str) -> Iterator[Finding]:
    """Check that a head of semantic segmentation with one channel has a sigmoid."""
    for path, head in class_counts(model, scope):
        losses = head.get('loss_decode') or dict(type='CrossEntropyLoss')
        losses = losses if isinstance(losses, (list, tuple)) else [losses]
        one = head.get('out_channels', head.get('num_classes')) == 1
        if one and is_head(path, head) and all(map(_is_softmax, losses)):
            yield Finding(
                'error',
                f'model.{path}',
                'with one channel the loss, a softmax, is always 0',
                f'Set model.{path}.loss_decode.use_sigmoid=True, or num_classes=2 without out_channels.',
            )


def is_head(path: str, part: Mapping[str, Any]) -> bool:
    """Whether a part of a model, at a dotted path, is a head or one of a list of heads."""
    return 'type' in part and path.rstrip('.0123456789').endswith('head')


def _extra_weights(loss: Mapping[str, Any], scope: str) -> set[int]:
    """How many weights a loss may have beyond one for each class: the softmax of a detector has one for the rest."""
    if 'type' not in loss or not _is_softmax(loss):
        return {0, 1}
    return {1} if scope == 'mmdet' or str(loss['type']).startswith('mmdet.') else {0}


def _is_softmax(loss: Mapping[str, Any]) -> bool:
    return kind(loss) == 'CrossEntropyLoss' and not loss.get('use_sigmoid')
