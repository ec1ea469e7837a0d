"""From a contestant's name to what is timed: its network with weights, in its form, and the step that is run."""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..models.compiling import allow_graphs
from ..models.iformer import IFormer
from .contestants import Contestant
from .products import Product, products, with_backward
from .reference import Reference
from .timm_peers import PEERS, build_peer, fold_batch_norms, reparameterise


@dataclass(frozen=True)
class Workload:
    """What is done with each network.

    Attributes:
        height: Height of the images.
        width: Their width.
        batch: Images in a batch.
        train: Whether a step is a forward and a backward pass; otherwise a forward pass without gradients.
        device: Where.
        dtype: In what, for contestants whose names do not say it.
    """

    height: int
    width: int
    batch: int
    train: bool
    device: torch.device
    dtype: torch.dtype


@dataclass
class Entry:
    """A contestant that is ready to be timed.

    Attributes:
        step: Does it once.
        forward: Its forward pass; what it returns hangs on the graph.
        weights: Its parameters and buffers.
        dtype: Of the arithmetic.
        parameters: Number of trainable numbers of the plain network.
        work: The products of a step, in plain operations.
        difference: Between its maps and the plain network's in float32: the largest, over the largest value of the
            level, of all levels.
    """

    step: Callable[[], object]
    forward: Callable[[], object]
    weights: list[Tensor]
    dtype: torch.dtype
    parameters: int
    work: list[Product]
    difference: float


def prepare(contestant: Contestant, workload: Workload) -> Entry:
    """Build a contestant, and compare its maps with the plain network's on the very images that are timed.

    Raises:
        ImportError: It is one of timm's, and timm is not installed.
    """
    plain = _plain(contestant.network, 'global' in contestant.words, workload)
    network = _form(contestant, copy.deepcopy(plain.network), plain.image, workload.train)
    words, dtype = contestant.words, contestant.half or workload.dtype
    image = plain.image
    if 'autocast' not in words:
        network, image = network.to(dtype), image.to(dtype)
    if 'nhwc' in words:
        network, image = network.to(memory_format=torch.channels_last), image.to(memory_format=torch.channels_last)
    weights = [*network.parameters(), *network.buffers()]
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if 'compile' in words:
        network = _compile(network, words, workload)
    elif 'aot' in words:
        network = _compile_ahead(network, image)

    def forward() -> tuple[Tensor, ...]:
        with torch.autocast(image.device.type, dtype) if 'autocast' in words else nullcontext():
            return network(image)

    with torch.set_grad_enabled(workload.train):
        difference = largest_difference(forward(), plain.maps)
    return Entry(
        step=_step(forward, trained, workload.train),
        forward=forward,
        weights=weights,
        dtype=dtype,
        parameters=plain.parameters,
        work=plain.work,
        difference=difference,
    )


def _step(forward: Callable[[], tuple[Tensor, ...]], trained: list[nn.Parameter], train: bool) -> Callable[[], object]:
    def infer() -> object:
        with torch.no_grad():
            return forward()

    def forward_and_backward() -> None:
        with torch.enable_grad():
            sum(level.float().mean() for level in forward()).backward()
        for parameter in trained:
            parameter.grad = None

    return forward_and_backward if train else infer


def largest_difference(maps: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """The largest difference of a level over the largest value that is expected in it, of all levels."""
    return max(
        ((one.float() - other).abs().max() / other.abs().max()).item()
        for one, other in zip(maps, expected, strict=True)
    )


@dataclass
class _Plain:
    """A network as it is built, and what it makes of the images: what its forms are held against."""

    network: nn.Module
    image: Tensor
    maps: tuple[Tensor, ...]
    parameters: int
    work: list[Product]


@functools.lru_cache(maxsize=4)  # forms of one network come one after the other
def _plain(name: str, without_windows: bool, workload: Workload) -> _Plain:
    device, train = workload.device, workload.train
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(workload.batch, 3, workload.height, workload.width, generator=generator).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name in PEERS:
            network = build_peer(PEERS[name], workload.height, workload.width)
        else:
            # not with its own initialisation, whose small weights let maps fade away
            network = IFormer(name, window_size=None if without_windows else 16)
        randomise_norms(network).to(device).eval()
    with torch.no_grad():
        maps = tuple(network(image))
        # Counted is a form in plain operations: what the network makes of them inside is not this module's business.
        if name not in PEERS:
            counted = Reference(network, folded=True)
        else:
            counted = network if train else reparameterise(network)
        work = products(lambda: counted(image))
    if train:
        work = with_backward(work)
        network.train()
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return _Plain(network, image, maps, parameters, work)


@torch.no_grad()
def randomise_norms(network: nn.Module) -> nn.Module:
    """Give batch norms scales, shifts and statistics that matter; those of a new network change nothing when folded."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.weight.normal_(1, 0.1)
            module.bias.normal_(0, 0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(1, 1.5)
    return network


def _form(contestant: Contestant, network: nn.Module, image: Tensor, train: bool) -> nn.Module:
    """The network in its form, before dtype and layout."""
    words = contestant.words
    if not contestant.is_ours:
        network = network if train else reparameterise(network)
        return fold_batch_norms(network, image) if 'folded' in words else network
    if 'unchunked' in words:
        for stage in network.stages:
            stage.num_chunks = 1
    if 'with_cp' in words:
        for stage in network.stages:
            stage.with_cp = True
    if 'reference' in words:
        return Reference(network, folded=not train)
    if 'deploy' in words:
        network.switch_to_deploy()
    return network


def _compile(network: nn.Module, words: frozenset[str], workload: Workload) -> Callable:
    # Every network and size is a graph of its own; beyond its limit dynamo would run the rest uncompiled.
    allow_graphs(256)
    options = {'freezing': 'freezing' in words, 'max_autotune': 'autotune' in words}
    options['triton.cudagraphs'] = workload.device.type == 'cuda' and not workload.train
    return torch.compile(network, dynamic=False, fullgraph=True, options=options)


def _compile_ahead(network: nn.Module, image: Tensor) -> Callable:
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        package = torch._inductor.aoti_compile_and_package(
            torch.export.export(network, (image,)), package_path=f'{folder}/network.pt2'
        )
        return torch._inductor.aoti_load_package(package)
