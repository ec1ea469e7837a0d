"""The rows of the paper's tables: what is printed, and the config and published checkpoint of each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..benchmark.ablation import TABLES as ABLATIONS
from ..errors import UserError
from ..hub import config_dir
from ..paper import TABLE_3, TABLE_4, TABLE_5, TABLE_8, TABLE_12, TABLE_13, Ablation, Classifier, Dense
from ..published import BASELINES, PUBLISHED


class Task(NamedTuple):
    """A task of a row.

    Attributes:
        key: As in `Published.task`.
        title: In print.
        folder: Of its configs.
        suffix: Of their names.
        figures: What is measured, under the names of `paper.Dense` and `paper.Classifier`.
    """

    key: str
    title: str
    folder: str
    suffix: str
    figures: tuple[str, ...]


_AP = ('box_AP', 'box_AP50', 'box_AP75', 'mask_AP', 'mask_AP50', 'mask_AP75')
TASKS = {
    'coco': Task('coco', 'Mask R-CNN, COCO', 'mask_rcnn', '1x', _AP),
    'ade20k': Task('ade20k', 'Semantic FPN, ADE20K', 'sem_fpn', '40k', ('mIoU',)),
}
IMAGENET = {'imagenet': Task('imagenet', 'ImageNet-1K', 'imagenet', '300e', ('top1',))}


class Checkpoint(NamedTuple):
    """A published checkpoint of a row's task.

    Attributes:
        name: As `checkpoint.load` takes it.
        result: What those who trained it publish for it.
    """

    name: str
    result: Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        key: What it is called on the command line and in the names of configs.
        title: Its name in print.
        printed: Its cells; None for a row that is in no table.
        configs: {task: config} of the tasks that have one.
        checkpoints: {task: published checkpoint}, as far as there are.
        tasks: Its tasks, `TASKS` or `IMAGENET`.
    """

    key: str
    title: str
    printed: Dense | Classifier | Ablation | None = None
    configs: Mapping[str, Path] = field(default_factory=dict)
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=lambda: TASKS)

    @property
    def figures(self) -> tuple[str, ...]:
        """What is measured of its tasks."""
        return tuple(name for task in self.tasks.values() for name in task.figures)


# "EfficientMod-S" of the tables is s-Conv, by its figures and those that its authors publish.
KEYS = {
    'EfficientNet-B0': 'efficientnet_b0',
    'ResNet18': 'resnet18',
    'PoolFormer-S12': 'poolformer_s12',
    'EfficientFormer-L1': 'efficientformer_l1',
    'FastViT-SA12': 'fastvit_sa12',
    'RepViT-M1.1': 'repvit_m1_1',
    'iFormer-M': 'iformer_m',
    'ResNet50': 'resnet50',
    'PoolFormer-S24': 'poolformer_s24',
    'ConvNeXt-T': 'convnext_t',
    'EfficientFormer-L3': 'efficientformer_l3',
    'RepViT-M1.5': 'repvit_m1_5',
    'PVTv2-B1': 'pvtv2_b1',
    'FastViT-SA24': 'fastvit_sa24',
    'EfficientMod-S': 'efficientmod_s_conv',
    'Swin-T': 'swin_t',
    'iFormer-L': 'iformer_l',
    'EfficientFormerV2-L': 'efficientformerv2_l',
    'iFormer-L2': 'iformer_l2',
}
_TABLES = {5: TABLE_5, 13: TABLE_13}
_IMAGENET_TABLES = {
    3: (TABLE_3, '300e'),
    4: (TABLE_4, 'distill_300e'),
    8: (TABLE_8, '300e'),
    12: (TABLE_12, 'distill_450e'),
}
# What tables of ablations are called on the command line.
ABLATION_NUMBERS = {
    name: int(name.split()[1]) if name.startswith('Table') else name.replace(' ', '').lower() for name in ABLATIONS
}
NUMBERS: tuple[int | str, ...] = (*_IMAGENET_TABLES, *_TABLES, *ABLATION_NUMBERS.values())


def rows_of(table: int | str) -> list[Row]:
    """The rows of a table in `NUMBERS`, in its order."""
    if table in _TABLES:
        return [_row(title, printed) for title, printed in _TABLES[table].items()]
    if table in _IMAGENET_TABLES:
        rows, suffix = _IMAGENET_TABLES[table]
        return [_classifier(title, printed, suffix) for title, printed in rows.items()]
    name = next(name for name, number in ABLATION_NUMBERS.items() if number == table)
    pairs = zip(ABLATIONS[name].rows.items(), ABLATIONS[name].configs, strict=True)
    return [
        Row(key, title, printed, {'imagenet': config_dir() / f'ablation/{key}.py'}, tasks=IMAGENET)
        for (title, printed), key in pairs
    ]


def _classifier(title: str, printed: Classifier, suffix: str) -> Row:
    """A row of ImageNet-1K, with a config if it is an iFormer."""
    key = title.lower().replace('-', '_').replace(' ', '_')
    if not key.startswith('iformer_'):
        return Row(key, title, printed, tasks=IMAGENET)
    (file,) = [
        file
        for file in PUBLISHED.values()
        if (file.task, f'iformer_{file.arch}', file.distilled) == ('imagenet', key, 'distill' in suffix)
        and file.name.endswith('.pth')
    ]
    config = config_dir() / f'imagenet/{key}_{suffix}.py'
    return Row(key, title, printed, dict(imagenet=config), dict(imagenet=Checkpoint(file.name, file.result)), IMAGENET)


def _row(title: str, printed: Dense) -> Row:
    key = KEYS[title]
    configs, checkpoints = {}, {}
    for task in TASKS.values():
        name = f'{task.folder}/{key}_{task.suffix}'
        if (path := config_dir() / f'{name}.py').is_file():
            configs[task.key] = path
        found = [
            Checkpoint(file.name, file.result)
            for file in (*PUBLISHED.values(), *BASELINES.values())
            if name == getattr(file, 'config', None)
            or (task.key, key) == (getattr(file, 'task', None), f'iformer_{getattr(file, "arch", None)}')
        ]
        if found:
            (checkpoints[task.key],) = found
    return Row(key, title, printed, configs, checkpoints)


def choose(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """The rows with these keys; without keys, all.

    Raises:
        UserError: There is no such row.
    """
    known = {row.key: row for row in rows}
    if unknown := [key for key in keys if key not in known]:
        raise UserError(f'--rows {" ".join(unknown)}: not in this table, whose rows are {" ".join(known)}')
    return [known[key] for key in dict.fromkeys(keys)] or list(rows)
