"""OpenVINO's files, by way of ONNX, in int8 by NNCF."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError
from .networks import Network
from .onnx import export_onnx
from .runtime import Run, Runtime, check_calibration, quiet


class OpenVino(Runtime):
    """OpenVINO on the CPU; bf16 is how an fp32 file is run."""

    name, suffix, modules = 'openvino', '.xml', ('onnx', 'onnxscript', 'openvino', 'nncf')
    extras = ('openvino',)
    networks = ('backbone', 'classifier', 'segmentor', 'detector', 'box_head', 'mask_head')
    precisions = ('fp32', 'fp16', 'bf16', 'int8')
    form = dict(num_chunks=1)

    def convert(
        self, network: Network, image: Tensor, path: Path, precision: str, calibration: Sequence[Tensor] = ()
    ) -> None:
        import openvino

        if precision == 'int8':
            check_calibration(self.name, calibration)
        graph = path.with_suffix('.onnx')
        export_onnx(network, image, graph)
        model = openvino.convert_model(graph)
        graph.unlink()
        if precision == 'int8':
            with quiet():
                model = quantize(model, calibration)
        for key, value in network.about.items():
            model.set_rt_info(value, ['mmiformer', key])
        openvino.save_model(model, path, compress_to_fp16=precision == 'fp16')

    def load(self, path: Path, precision: str) -> Run:
        core = find_core()
        if precision == 'bf16' and not self.has_bf16():
            raise UserError('openvino: this processor has no bfloat16 arithmetic, so --precision bf16 cannot run on it')
        options = {
            'INFERENCE_NUM_THREADS': torch.get_num_threads(),
            'INFERENCE_PRECISION_HINT': 'bf16' if precision == 'bf16' else 'f32',
            'PERFORMANCE_HINT': 'LATENCY',
        }
        model = core.compile_model(path, 'CPU', options)
        # The runtime's own arrays are overwritten by the next image.
        return lambda image: tuple(torch.tensor(map_) for map_ in model([image.contiguous().numpy()]).to_tuple())

    def has_bf16(self) -> bool:
        """Whether it has arithmetic in bfloat16 on this processor."""
        return 'BF16' in find_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')

    def numbers(self, path: Path, precision: str) -> Run | None:
        return None if precision == 'bf16' and not self.has_bf16() else self.load(path, precision)

    def operators(self, path: Path) -> Counter:
        kinds = Counter(operator.get_type_name() for operator in find_core().read_model(path).get_ops())
        for kind in ('Constant', 'Parameter', 'Result'):
            del kinds[kind]
        return kinds


@functools.cache
def find_core() -> object:
    """OpenVINO, one for all of a process's life.

    Its part for the processor brings a stack for signals, and frees it when the last one goes, although another thread
    still has it: the next signal that is handled there, such as that of an ended process, is a SIGSEGV.
    """
    import openvino

    return openvino.Core()


def quantize(model: object, calibration: Sequence[Tensor]) -> object:
    """The model in int8. NNCF's scheme for transformers spares what attention is sensitive to."""
    import nncf

    logging.getLogger('nncf').setLevel(logging.ERROR)
    images = nncf.Dataset([image.numpy() for image in calibration])
    return nncf.quantize(model, images, subset_size=len(calibration), model_type=nncf.ModelType.TRANSFORMER)
