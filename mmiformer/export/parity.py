"""What a file computes and consists of, against the network in torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from ..datasets.shapes import make_scene
from .networks import Network
from .replace import as_input, read_images
from .runtime import Run, quiet

EQUAL = 1e-4  # of an output's largest value, in fp32


class Difference(NamedTuple):
    """How far an output is from torch's, over all images.

    Attributes:
        output: Its name.
        largest: The largest difference over the largest value; of labels the share that differ.
        rms: The root mean square of the differences over that of the values; of labels as `largest`.
    """

    output: str
    largest: float
    rms: float


@torch.no_grad()
def differences(network: Network, run: Run, images: Sequence[Tensor]) -> list[Difference]:
    """Hold a file against the model that it was made of.

    Args:
        network: What was exported, with what is `expected`.
        run: What computes the file.
        images: What it is run on.
    """
    outputs = zip(*map(run, images), strict=True)
    expected = zip(*map(network.expected, images), strict=True)
    return [
        Difference(name, *_distance(torch.cat(one), torch.cat(other)))
        for name, one, other in zip(network.outputs, outputs, expected, strict=True)
    ]


def _distance(actual: Tensor, expected: Tensor) -> tuple[float, float]:
    if not expected.is_floating_point():
        share = (actual != expected).double().mean().item()
        return share, share
    actual, expected = actual.double(), expected.double()
    off = (actual - expected).abs()
    rms = off.square().mean().sqrt() / expected.square().mean().sqrt()
    return (off.max() / expected.abs().max()).item(), rms.item()


def graph_of(model: nn.Module, image: Tensor) -> Counter:
    """{type: how many} of the operators of a backbone or classifier as it is in torch."""
    with quiet():
        program = torch.export.export(model, (image,)).run_decompositions({})
    return Counter(
        str(node.target).removeprefix('aten.').split('.')[0]
        for node in program.graph.nodes
        if node.op == 'call_function' and 'getitem' not in str(node.target)
    )


def samples(folder: Path | None, height: int, width: int, number: int, image: bool = False) -> list[Tensor]:
    """Images to compare on, each (1, 3, height, width): the first of a folder, or drawn scenes without one.

    Args:
        folder: The folder.
        height: Height that they get.
        width: Width that they get.
        number: How many at most.
        image: As in :func:`~mmiformer.export.replace.read_images`.
    """
    if folder:
        return read_images(folder, height, width, number, image)
    return [as_input(drawn_scene(index), height, width, image) for index in range(number)]


def drawn_scene(index: int) -> Image.Image:
    """A picture to try networks on where there are no photos."""
    return Image.fromarray(make_scene(0, 'val', index).image[..., ::-1])  # it is BGR
