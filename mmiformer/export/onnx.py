"""ONNX files, by torch's exporter, run by ONNX Runtime."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .networks import Network, Normalized
from .runtime import Run, Runtime


class Onnx(Runtime):
    """ONNX and ONNX Runtime on the CPU."""

    name, suffix, modules = 'onnx', '.onnx', ('onnx', 'onnxscript', 'onnxruntime')
    networks = ('backbone', 'classifier', 'segmentor', 'detector')
    precisions = ('fp32',)
    form = dict(num_chunks=16)

    def convert(
        self, network: Network, image: Tensor, path: Path, precision: str, calibration: Sequence[Tensor] = ()
    ) -> None:
        export_onnx(network, image, path)

    def load(self, path: Path, precision: str) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        return lambda image: tuple(map(torch.from_numpy, session.run(None, {'image': image.contiguous().numpy()})))

    def operators(self, path: Path) -> Counter:
        import onnx

        return Counter(node.op_type for node in onnx.load(path).graph.node if node.op_type != 'Constant')


def export_onnx(network: Network, image: Tensor, path: Path) -> None:
    """Write an ONNX file with its weights in it and what is known of it in its metadata."""
    module = Normalized(network.module) if network.image else network.module
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)  # says what it does not look for
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of torch's own deprecations
        program = torch.onnx.export(
            module.eval(),
            (image,),
            input_names=['image'],
            output_names=list(network.outputs),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    program.model.metadata_props.update(network.about)
    program.save(path, external_data=False)
