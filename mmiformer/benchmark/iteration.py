"""Timing the training iterations of a whole detector or segmentor, with the network and with its reference form."""

from __future__ import annotations

import copy
import itertools
import random
import time
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from ..engine.building import building
from ..errors import UserError
from ..models import IFormer
from .reference import Reference
from .run import randomize_norms
from .timing import stopwatch, track


@dataclass(frozen=True)
class Iterations:
    """Seconds, batch by batch.

    Attributes:
        read: Of reading and augmenting it, in one process.
        reference: Of a training step on it (forward, backward, optimizer) with the backbone in its reference form.
        network: The same with the backbone as it is.
    """

    read: list[float]
    reference: list[float]
    network: list[float]


def time_iterations(cfg: Config, rounds: int, warmup: int, device: torch.device) -> Iterations:
    """Time the training of a model from random weights; both forms of its backbone do each batch, in turns.

    The learning rate is 0, so that both have the same weights to the end.

    Args:
        cfg: The config; its toolbox has been imported. It is not changed.
        rounds: How many batches count.
        warmup: How many are done before, and do not count.
        device: Where to train.

    Raises:
        UserError: There is no batch, or the backbone is no iFormer that the reference form can stand in for: one with
            frozen batch norms, without dropped paths and checkpoints.
    """
    cfg = copy.deepcopy(cfg)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    cfg.optim_wrapper.optimizer.lr = 0.0
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    with building(cfg, 'model'):
        model = MODELS.build(cfg.model)
    network = model.backbone
    differs = cfg.model.backbone.get('drop_path_rate') or cfg.model.backbone.get('with_cp')
    if not isinstance(network, IFormer) or not network.norm_eval or differs:
        raise UserError(
            'the reference form stands in for an IFormer with norm_eval=True, drop_path_rate=0 and with_cp=False; the '
            f'backbone of this config is {dict(cfg.model.backbone)}'
        )
    MMLogger.get_instance('benchmark', log_level='ERROR')  # how each weight is initialized does not matter here
    model.init_weights()
    randomize_norms(network)
    model.to(device).train()
    with building(cfg, 'optim_wrapper'):
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    backbones = dict(reference=Reference(network, folded=False), network=network)
    with building(cfg, 'train_dataloader'):
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    if not len(loader):
        raise UserError('the training data set gives no batch')
    batches = (batch for _ in itertools.count() for batch in loader)
    clock, shuffle, forms = stopwatch(device), random.Random(0).shuffle, list(backbones)
    measured = Iterations([], [], [])
    for number in track(range(warmup + rounds), 'training on batches'):
        began = time.perf_counter()
        batch = next(batches)
        taken = dict(read=time.perf_counter() - began)
        shuffle(forms)
        for form in forms:
            model.backbone, own = backbones[form], copy.deepcopy(batch)  # models add to what they are given
            taken[form] = clock(lambda own=own: model.train_step(own, optimizer))
        if number >= warmup:
            for name, value in taken.items():
                getattr(measured, name).append(value)
    return measured
