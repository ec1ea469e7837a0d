"""ONNX files, by torch's exporter, run by ONNX Runtime."""

from __future__ import annotations

import json
import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .networks import Network, Normalized
from .runtime import Run, Runtime

SIDES = 256  # a window of stage 3, 16 x 16, in pixels of the image


class Onnx(Runtime):
    """ONNX and ONNX Runtime on the CPU."""

    name, suffix, modules = 'onnx', '.onnx', ('onnx', 'onnxscript', 'onnxruntime')
    extras = ('onnx',)
    networks = ('backbone', 'classifier', 'segmentor', 'detector', 'box_head', 'mask_head')
    precisions = ('fp32',)
    form = dict(num_chunks=16)
    options = ('dynamic',)
    dynamic = False

    def convert(
        self, network: Network, image: Tensor, path: Path, precision: str, calibration: Sequence[Tensor] = ()
    ) -> None:
        export_onnx(network, image, path, self.dynamic)

    def load(self, path: Path, precision: str) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        name = session.get_inputs()[0].name
        return lambda x: tuple(map(torch.from_numpy, session.run(None, {name: x.contiguous().numpy()})))

    def operators(self, path: Path) -> Counter:
        import onnx

        return Counter(node.op_type for node in onnx.load(path).graph.node if node.op_type != 'Constant')


def export_onnx(network: Network, image: Tensor, path: Path, dynamic: bool = False) -> None:
    """Write an ONNX file with its weights in it and what is known of it in its metadata.

    Args:
        network: The network.
        image: An image of the size that the file is for; of a head its crops.
        path: The file.
        dynamic: Whether it is for any number of images of any size in multiples of `SIDES` instead. Then no map has to
            be padded before it is cut into windows.
    """
    from torch.export import Dim  # which torch 2.1 has not

    shapes = None
    if network.cut:
        shapes = ({0: Dim('proposals')},)
    elif dynamic:
        image = torch.zeros(2, 3, 2 * SIDES, 3 * SIDES)  # torch takes a 1, or sides that are equal, for fixed
        shapes = ({0: Dim('batch'), 2: SIDES * Dim('rows'), 3: SIDES * Dim('columns')},)
    module = Normalized(network.module) if network.image else network.module
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)  # says what it does not look for
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of torch's own deprecations
        program = torch.onnx.export(
            module.eval(),
            (image,),
            input_names=['crops' if network.cut else 'image'],
            output_names=list(network.outputs),
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    program.model.metadata_props.update(network.about)
    if network.classes:
        known = dict(classes=network.classes, palette=network.palette)
        program.model.metadata_props.update({name: json.dumps(value) for name, value in known.items()})
    program.save(path, external_data=False)
