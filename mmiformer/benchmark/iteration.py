"""Timing the training iterations of a whole model, with its network and, where there is one, the reference form."""

from __future__ import annotations

import copy
import itertools
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch import nn

from ..engine.broken import check_samples, ignored_numbers
from ..engine.building import building
from ..errors import UserError
from ..models import IFormer
from ..models.classification import Teacher
from .memory import peak_memory
from .reference import Reference
from .run import randomize_norms
from .timing import stopwatch, track


@dataclass(frozen=True)
class Iterations:
    """Seconds, batch by batch, and bytes.

    Attributes:
        read: Of reading and augmenting it, in one process.
        network: Of a training step on it: forward, backward, optimizer.
        reference: The same with the backbone in its reference form; empty where that cannot stand in for it.
        memory: Bytes that a step takes at most, weights and optimizer aside; None where they cannot be told.
    """

    read: list[float]
    network: list[float]
    reference: list[float]
    memory: int | None = None


def time_iterations(cfg: Config, rounds: int, warmup: int, device: torch.device) -> Iterations:
    """Time the training of a model from random weights; all forms of its backbone do each batch, in turns.

    The learning rate is 0, so that all have the same weights to the end.

    Args:
        cfg: The config; its toolbox has been imported. It is not changed.
        rounds: How many batches count.
        warmup: How many are done before, and do not count.
        device: Where to train.

    Raises:
        UserError: There is no batch.
    """
    cfg = copy.deepcopy(cfg)
    init_default_scope(cfg.default_scope)
    cfg.optim_wrapper.optimizer.lr = 0.0
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    MMLogger.get_instance('benchmark', log_level='ERROR')  # how each weight is initialized does not matter here
    model = build_model(cfg, device)
    backbones = dict(network=model.backbone)
    if has_reference(model.backbone, cfg.model.get('backbone', {})):
        backbones['reference'] = Reference(randomize_norms(model.backbone), folded=False)
    with building(cfg, 'optim_wrapper'):
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    with building(cfg, 'train_dataloader'):
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    check_samples(loader.dataset, ignored_numbers(cfg))  # as a training does
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
    model.backbone = backbones['network']
    return replace(measured, memory=peak_memory(lambda: model.train_step(copy.deepcopy(batch), optimizer), device))


def build_model(cfg: Config, device: torch.device) -> nn.Module:
    """The model of a config in training mode, from random weights, as its teacher is. The config is changed."""
    for part in (cfg.model, cfg.model.get('backbone', {})):
        part['init_cfg'] = None
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)  # as the Runner does
    with building(cfg, 'model'):
        model = MODELS.build(cfg.model)
        teacher = getattr(model, 'teacher', None)
        if isinstance(teacher, Teacher):
            network = MODELS.build({**teacher.config, 'init_cfg': None})
            teacher.network = network.to(device).eval().requires_grad_(False)
    model.init_weights()
    return model.to(device).train()


def has_reference(backbone: nn.Module, config: Mapping[str, Any]) -> bool:
    """Whether the reference form can stand in: it has frozen batch norms, no dropped paths and no checkpoints."""
    others = config.get('drop_path_rate') or config.get('with_cp')
    return isinstance(backbone, IFormer) and backbone.norm_eval and not others
