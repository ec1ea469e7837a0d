"""Config, data and checkpoint held against each other, before anything is built."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import CheckpointLoader

from ..datasets.coco_file import forget_coco
from ..engine.broken import LIMIT
from ..engine.config import evaluators
from ..errors import UserError
from ..models.loading import state_dict_of
from .classes import check_loaded
from .data import check_data
from .dataset import data_configs
from .evaluator import check_evaluator
from .facts import compare_facts
from .findings import Finding, raise_errors, table
from .numbers import check_numbers
from .paramwise import check_paramwise
from .reading import Sample
from .recipe import check_recipe

logger = logging.getLogger(__name__)


def check_config(
    cfg: Config,
    loaders: Sequence[str],
    checkpoint: Mapping[str, Any] | None = None,
    *,
    training: bool = False,
) -> None:
    """Check what a run will use. Call it when the processes have been joined: one looks, the others wait for it.

    What is not wrong, but worth knowing, is noted in one table.

    Args:
        cfg: The config.
        loaders: Keys of the dataloaders that the run uses; none for prediction, which reads no data set.
        checkpoint: The checkpoint that is tested or resumed.
        training: Whether the run trains.

    Raises:
        UserError: Something is surely wrong; all of it is in the message.
    """
    findings = _find(cfg, loaders, checkpoint, training) if is_main_process() else ()
    findings = (_tolerate(finding, cfg.get('default_hooks') or {}) for finding in findings)
    found = [list(dict.fromkeys(findings))]
    forget_coco()
    broadcast_object_list(found)
    levels = {finding.level for finding in found[0]}
    left_out = ('error', 'fact') if 'error' in levels else ()
    if others := [finding for finding in found[0] if finding.level not in left_out]:
        level = logging.INFO if levels == {'fact'} else logging.WARNING
        logger.log(level, 'Checked before the run:\n' + table(others))
    raise_errors(found[0])


def _tolerate(finding: Finding, hooks: Mapping[str, Any]) -> Finding:
    """A warning of broken data that the run does without, instead of an error."""
    settings = hooks.get('broken_data', {})
    if finding.level != 'error' or not finding.share or settings is None:
        return finding
    if finding.where.startswith('train'):
        limit = settings.get('limit', LIMIT)
        if finding.share <= limit:
            return replace(finding, level='warning', fix=f'{finding.fix} The training does without them.')
        way_out = f'A training does without up to {limit:g} of its samples: default_hooks.broken_data.limit.'
    else:
        if settings.get('skip_in_evaluation'):
            return replace(finding, level='warning', fix=f'{finding.fix} The evaluation leaves them out.')
        way_out = 'To leave them out of the evaluation: default_hooks.broken_data.skip_in_evaluation=True.'
    return replace(finding, fix=f'{finding.fix}\n{way_out}')


def _find(cfg, loaders, checkpoint, training) -> Iterator[Finding]:
    if wrong := list(check_numbers(cfg, loaders, training)):
        yield from wrong  # the others compute with them
        return
    yield from _as_far_as_known(compare_facts(cfg, loaders, checkpoint))
    if training:
        yield from check_paramwise(cfg)
        yield from _as_far_as_known(check_recipe(cfg, checkpoint))
        if cfg.get('load_from') and not cfg.get('resume'):
            try:
                loaded = CheckpointLoader.load_checkpoint(cfg.load_from, 'cpu')
                state_dict_of(loaded)
            except UserError as error:
                yield Finding('error', 'load_from', str(error))
            else:
                yield from check_loaded(loaded, data_configs(cfg, loaders))
    for loader in loaders:
        name = loader.replace('dataloader', 'evaluator')
        model = cfg.get('model') or {}
        found = check_evaluator(name, list(evaluators(cfg, (name,))), data_configs(cfg, (loader,)), model)
        yield from _as_far_as_known(found)
    reader = Sample()
    yield from check_data(cfg, loaders, reader)
    yield from (count_images(where, *numbers) for where, numbers in reader.images.items())


def count_images(where: str, number: int, published: int | None) -> Finding:
    """How many images a data set has, against how many the published one has, if it is that."""
    if number == published:
        return Finding('fact', where, f'{number} images, all of the published ones')
    if published is None:
        return Finding('fact', where, f'{number} images')
    what = f'{number} images, and the published data set has {published}: results will not be the published ones'
    return Finding('warning', where, what, 'tools/prepare_data.py completes and checks a data set.')


def _as_far_as_known(findings: Iterator[Finding]) -> Iterator[Finding]:
    """What a check finds until it meets a value of a kind that it does not know: building the part tells about that."""
    try:
        yield from findings
    except UserError:
        raise
    except Exception as error:
        yield Finding('note', 'config', f'not all of it could be checked: {type(error).__name__}: {error}')
