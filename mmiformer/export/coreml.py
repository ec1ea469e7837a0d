"""Core ML's packages, converted on any system and run on a Mac."""

from __future__ import annotations

import asyncio
import copy
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..errors import UserError
from .networks import MEAN, STD, Network
from .runtime import Run, Runtime, quiet


class CoreMl(Runtime):
    """Core ML from iOS 16 on. The mission's form: windows in 16 channel chunks."""

    name, suffix, modules = 'coreml', '.mlpackage', ('coremltools',)
    extras = ('coreml',)
    networks = ('backbone', 'classifier')
    precisions = ('fp16', 'fp32', 'int8')
    form = dict(num_chunks=16)
    options = ('ios',)
    ios = 16

    def convert(
        self, network: Network, image: Tensor, path: Path, precision: str, calibration: Sequence[Tensor] = ()
    ) -> None:
        import coremltools as ct

        module, inputs = network.module, [ct.TensorType('image', image.shape)]
        if network.image:
            module, scale = fold_std(module)
            bias = [-mean * scale for mean in MEAN]
            inputs = [ct.ImageType('image', image.shape, scale, bias, ct.colorlayout.RGB)]
        with quiet():
            program = torch.export.export(module, (image,)).run_decompositions({})
            model = ct.convert(
                program,
                inputs=inputs,
                outputs=[ct.TensorType(name) for name in network.outputs],
                minimum_deployment_target=getattr(ct.target, f'iOS{self.ios}'),
                compute_precision=ct.precision.FLOAT32 if precision == 'fp32' else ct.precision.FLOAT16,
                skip_model_load=True,
            )
            if precision == 'int8':
                model = quantize_weights(model)
        model.user_defined_metadata.update(network.about)
        model.save(str(path))

    def load(self, path: Path, precision: str) -> Run:
        if platform.system() != 'Darwin':
            raise UserError('coreml: only a Mac can run it')
        import coremltools as ct

        model = ct.models.MLModel(str(path))
        description = model.get_spec().description
        names = [output.name for output in description.output]
        picture = description.input[0].type.HasField('imageType')

        def run(image: Tensor) -> tuple[Tensor, ...]:
            outputs = model.predict({'image': as_picture(image) if picture else image.numpy()})
            return tuple(torch.from_numpy(np.asarray(outputs[name], dtype=np.float32)) for name in names)

        return run

    def numbers(self, path: Path, precision: str) -> Run | None:
        if platform.system() == 'Darwin':
            return self.load(path, precision)
        from .interpreter import Program

        return Program(path)

    def times(self, path: Path, number: int = 50) -> list[float]:
        """Milliseconds of predictions as Core ML itself measures them, on a Mac."""
        import coremltools as ct
        from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

        benchmarker = MLModelBenchmarker(ct.models.MLModel(str(path)))
        return asyncio.run(benchmarker.benchmark_predict(iterations=number, warmup=True)).samples

    def operators(self, path: Path) -> Counter:
        import coremltools as ct

        function = ct.models.MLModel(str(path), skip_model_load=True).get_spec().mlProgram.functions['main']
        [block] = function.block_specializations.values()
        kinds = Counter(operator.type for operator in block.operations)
        del kinds['const']
        return kinds


def as_picture(image: Tensor) -> Image.Image:
    """What Core ML takes for an RGB image (1, 3, H, W) from 0 to 255."""
    return Image.fromarray(image[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy())


def fold_std(module: nn.Module) -> tuple[nn.Module, float]:
    """The module for images with one scale, and that scale: what channels differ in is in the first convolution.

    Core ML's image is `scale * pixel + bias`, with a bias for each channel and one scale for all.
    """
    module = copy.deepcopy(module)
    first = next(part for part in module.modules() if isinstance(part, nn.Conv2d))
    scale = sum(1 / std for std in STD) / 3
    with torch.no_grad():
        first.weight *= (1 / torch.tensor(STD) / scale).view(1, 3, 1, 1)
    return module, scale


def quantize_weights(model: object) -> object:
    """The model with its weights in int8, by channel; it computes in fp16."""
    import coremltools.optimize.coreml as cto

    options = cto.OpLinearQuantizerConfig(mode='linear_symmetric', dtype='int8', granularity='per_channel')
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(global_config=options))
