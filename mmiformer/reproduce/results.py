"""Results: one JSON file a run, and which of them stand in a cell together."""

from __future__ import annotations

import hashlib
import json
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config

from .. import __version__
from ..benchmark.report import processor
from ..errors import UserError
from ..evaluation.tables import write_json
from ..hub import PACKAGE
from ..versions import versions


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        row: Key of the row.
        task: 'coco', 'ade20k' or 'imagenet'.
        kind: 'evaluated', of a published checkpoint, or 'trained' here.
        config: The config's path.
        config_hash: Of its content, the folder of the data aside.
        commit: Of this project; several if it changed on the way.
        batch: Images in a step of the training, over all GPUs; in an evaluation, in a batch.
        seed: Of the training.
        images: How many were evaluated.
        figures: Under the names of `paper.Dense`, in percent; None where there was nothing to measure.
        hours: That the training took.
        memory: MB of GPU memory that it took on each GPU at most.
        machine: Processor, GPUs and system.
        versions: {distribution: version}.
        date: When it ended, UTC.
        work_dir: Of the training, with its logs.
    """

    row: str
    task: str
    kind: str
    config: str
    config_hash: str
    commit: str
    batch: int
    seed: int | None
    images: int
    figures: Mapping[str, float | None]
    hours: float | None = None
    memory: int | None = None
    machine: Mapping[str, Any] = field(default_factory=lambda: machine())
    versions: Mapping[str, str] = field(default_factory=lambda: versions())
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec='seconds'))
    work_dir: str | None = None

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, asdict(self))


def machine() -> dict[str, Any]:
    """What this machine computes with."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return dict(processor=processor(), threads=torch.get_num_threads(), gpus=gpus, system=platform.platform())


def commit() -> str:
    """The commit of the checkout, with '+' if files differ from it; of an installed package, its version."""
    try:
        git = ['git', '-C', str(PACKAGE), 'describe', '--always', '--abbrev=12', '--exclude=*', '--dirty=+']
        return subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f'v{__version__}'


def hash_config(cfg: Config) -> str:
    """Eight digits for what a config says. Where the data is and where logs go makes no difference."""
    content = {key: value for key, value in cfg.to_dict().items() if key not in ('data_root', 'work_dir')}
    text = json.dumps(content, sort_keys=True, default=str)
    if root := cfg.get('data_root'):
        text = text.replace(str(root), '')
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read_results(folder: Path) -> list[Result]:
    """All results in a folder, the newest first.

    Raises:
        UserError: A file there is no result.
    """
    found = []
    for path in sorted(folder.glob('*.json')):
        try:
            found.append(Result(**json.loads(path.read_text())))
        except (ValueError, TypeError) as error:
            raise UserError(f'{path} is no result of this tool: {error}') from error
    return sorted(found, key=lambda result: result.date, reverse=True)


class Cell(NamedTuple):
    """The figures of the runs that stand in a cell together.

    Attributes:
        mean: {figure: mean}.
        deviation: {figure: standard deviation}, of two runs or more.
        runs: The runs, one a seed, the newest first.
    """

    mean: Mapping[str, float]
    deviation: Mapping[str, float]
    runs: tuple[Result, ...]


def cell(results: Iterable[Result], row: str, task: str, kind: str) -> Cell | None:
    """What stands in a cell: the newest run, and others that differ from it by their seed alone.

    Runs of another config, commit or batch are never mixed with it.

    Args:
        results: All results, the newest first.
        row: Key of the row.
        task: Of the cell.
        kind: Of the cell.
    """
    fitting = [one for one in results if (one.row, one.task, one.kind) == (row, task, kind)]
    if not fitting:
        return None
    seeds: dict[int | None, Result] = {}
    for one in fitting:
        if _group(one) == _group(fitting[0]):
            seeds.setdefault(one.seed, one)
    runs = tuple(seeds.values())
    known = {name: [one.figures[name] for one in runs] for name in runs[0].figures}
    known = {name: values for name, values in known.items() if None not in values}
    deviation = {name: statistics.stdev(values) for name, values in known.items() if len(values) > 1}
    return Cell({name: statistics.fmean(values) for name, values in known.items()}, deviation, runs)


def _group(result: Result) -> tuple[str, str, int, int]:
    return result.config_hash, result.commit, result.batch, result.images


# The spread of the field: of one checkpoint evaluated twice; of a training on COCO; on ADE20K, of one training and of
# a mean of three; on ImageNet, what the maintainers of DeiT, whose recipe iFormer's follows, call noise
# (facebookresearch/deit#32).
EVALUATION, COCO, ADE20K, ADE20K_MEAN, IMAGENET = 0.1, 0.3, 1.0, 0.8, 0.2


def spread(one: Cell) -> float:
    """How far the figures of a cell may be from those published."""
    first = one.runs[0]
    if first.kind == 'evaluated':
        return EVALUATION
    if first.task == 'imagenet':
        return IMAGENET
    return COCO if first.task == 'coco' else ADE20K_MEAN if len(one.runs) >= 3 else ADE20K


def differs(one: Cell, name: str, published: Mapping[str, float | None]) -> bool:
    """Whether a figure is further from the published one than the spread; rounding to a digit is allowed for."""
    there = name in one.mean and published.get(name) is not None
    return there and abs(round(one.mean[name], 1) - published[name]) > spread(one) + 1e-6
