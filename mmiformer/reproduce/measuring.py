"""Measuring the backbones of the rows, and the attentions of Table 17, each in one interleaved run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..benchmark.complexity import count
from ..benchmark.forms import FORMS
from ..benchmark.memory import peak_memory
from ..benchmark.peers import reparameterize
from ..benchmark.report import facts
from ..benchmark.run import largest_difference, randomize_norms
from ..benchmark.timing import interleave, matmul_peak, spread, stopwatch, track
from ..engine.building import building
from ..engine.config import import_toolbox, read_config
from ..errors import UserError
from ..export import RUNNABLE, find_runtime
from ..models import ARCHS, IFormer, export_form
from ..models.timm_backbone import TimmBackbone
from ..paper import Ablation
from .rows import Row

logger = logging.getLogger(__name__)

# The released code measures the latency of L2 on a network of its own, with fewer channels: docs/tables.md.
L2_LATENCY = ARCHS['l2']._replace(stem_channels=24, channels=(48, 128, 256, 448), head_dims=(0, 0, 128, 112))._asdict()
OURS, THEIRS = ('plain', 'deploy', 'deploy-bf16', 'export'), ('plain', 'folded')
ATTENTIONS = {
    'SHMA': dict(window_size=None),
    'Hybrid SHMA': dict(num_chunks=1),
    'CC Hybrid SHMA': dict(num_chunks=16),
}
SIZES = (224, 512, 1024)


class Network(NamedTuple):
    """A network to be measured.

    Attributes:
        key: Of its row, or the kind of its attention.
        title: In print.
        build: Builds it with random weights.
        forms: Names of forms.
    """

    key: str
    title: str
    build: Callable[[], nn.Module]
    forms: Sequence[str]


def backbones(rows: Sequence[Row], chosen: Sequence[str] = ()) -> list[Network]:
    """The backbones of those rows that have a config; with iFormer-L2 also the network of its printed latency.

    Args:
        rows: The rows.
        chosen: Which forms, as far as a network has them; by default all, and the runtimes that are installed.
            Ablations have no form for a runtime.
    """
    runtimes = installed(chosen or RUNNABLE)
    ours, theirs = ([form for form in forms if form in (chosen or forms)] for forms in (OURS, THEIRS))
    found = []
    for row in rows:
        if row.configs:
            forms = ours if row.key.startswith('iformer_') else theirs
            forms = forms if isinstance(row.printed, Ablation) else forms + runtimes
            path = next(iter(row.configs.values()))
            found.append(Network(row.key, row.title, lambda path=path: build(path), forms))
        if row.key == 'iformer_l2' and 'coco' in row.tasks:
            title = 'iFormer-L2, network of the printed latency'
            found.append(Network('iformer_l2_latency', title, lambda: IFormer(L2_LATENCY), ours + runtimes))
    return found


def build(config: object) -> nn.Module:
    """The backbone of a config, with random weights."""
    from mmengine.registry import MODELS, init_default_scope

    cfg = read_config(config)
    import_toolbox(cfg)
    init_default_scope(cfg.default_scope)
    with building(cfg, 'model'):
        if 'backbone' not in cfg.model:  # a classifier
            return MODELS.build(dict(cfg.model, init_cfg=None)).backbone
        return MODELS.build(dict(cfg.model.backbone, init_cfg=None))


@torch.no_grad()
def measure(
    networks: Sequence[Network], sizes: Sequence[int], rounds: int, warmup: int, device: torch.device, graphs: bool
) -> dict[str, Any]:
    """Measure networks in their forms on one image, in turns.

    Args:
        networks: The networks.
        sizes: Sides of the image.
        rounds: How often each is timed.
        warmup: How often it is run before.
        device: Where.
        graphs: Whether memory and the operators of the exported graph are measured too.

    Returns:
        `facts` of the machine and what no runtime's converter took, its `peak` in MACs per second, and `entries`, one
        for each network, form and size.
    """
    generator = torch.Generator().manual_seed(0)
    entries, steps, failed = [], [], []
    todo = [(network, form, size) for size in sizes for network in networks for form in network.forms]
    for network, form, size in track(todo, 'building'):
        image = torch.randn(1, 3, size, size, generator=generator).to(device)
        try:
            entry, step = _prepare(network, form, image)
        except Exception as error:  # whatever the converter of a runtime makes of a network
            if form.split('-')[0] not in RUNNABLE:
                raise
            failed.append(f'{network.title} in {form}: {str(error).strip().splitlines()[0]}')
            logger.warning('not measured: %s', failed[-1])
            continue
        entries.append(entry | dict(size=size))
        steps.append(step)
    taken = interleave(steps, rounds, warmup, stopwatch(device))
    peak = matmul_peak(device, torch.float32)
    for entry, step, seconds in zip(entries, steps, taken, strict=True):
        entry.update(ms=[1000 * value for value in spread(seconds)], seconds=seconds)
        if graphs:
            entry['peak_memory'] = peak_memory(step, device)
    if graphs:
        builders = {network.key: network.build for network in networks}
        for entry in entries:
            if entry['form'] == 'export':
                entry['operators'] = operators(builders[entry['key']](), entry['size'])
    known = {'not measured': '; '.join(failed)} if failed else {}
    return dict(facts=facts(device, rounds=rounds, warmup=warmup, **known), peak=peak, entries=entries)


def _prepare(network: Network, form: str, image: Tensor) -> tuple[dict[str, Any], Callable[[], object]]:
    torch.manual_seed(0)
    model = randomize_norms(network.build()).to(image.device)
    model.eval()  # which returns None for mmdet's ResNet
    expected = model(image)
    counted, _ = count(network.title, model, model, image)
    if form != 'plain' and isinstance(model, TimmBackbone):
        model = reparameterize(model)
    run, image = FORMS[form].make(model, image, FORMS[form].dtype or torch.float32)
    entry = dict(key=network.key, title=network.title, form=form, params=counted.parameters, macs=counted.macs)
    return entry | dict(difference=largest_difference(run(image), expected)), lambda: run(image)


def installed(names: Sequence[str] = RUNNABLE) -> list[str]:
    """Those of the runtimes that are installed and run on this machine."""
    found = []
    for name in (name for name in RUNNABLE if name in names):
        with suppress(UserError):
            find_runtime(name).require('backbone', 'fp32')
            found.append(name)
    return found


def operators(backbone: nn.Module, size: int) -> Mapping[str, int]:
    """{operator: how often} of the graph that torch exports from the export form."""
    program = torch.export.export(export_form(backbone.eval()), (torch.zeros(1, 3, size, size),))
    names = [node.target.__name__ for node in program.graph.nodes if node.op == 'call_function']
    return dict(Counter(name for name in names if name != 'getitem').most_common())


def attentions() -> list[Network]:
    """iFormer-M with the attentions of Table 17."""
    return [
        Network(name, f'iFormer-M, {name}', lambda options=options: IFormer('m', **options), ('plain', 'export'))
        for name, options in ATTENTIONS.items()
    ]
