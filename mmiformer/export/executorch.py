"""ExecuTorch's files, computed by XNNPACK, or by Core ML on Apple's devices."""

from __future__ import annotations

import copy
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import UserError
from .networks import Network, Normalized
from .runtime import Run, Runtime, check_calibration, quiet


class ExecuTorch(Runtime):
    """ExecuTorch with XNNPACK, which takes the whole network as one piece."""

    name, suffix, modules = 'executorch', '.pte', ('executorch.exir', 'torchao')
    extras = ('executorch',)
    networks = ('backbone', 'classifier')
    precisions = ('fp32', 'int8')
    form = dict(num_chunks=1)

    def advice(self) -> str:
        if sys.version_info[:2] in ((3, 10), (3, 12)):
            return 'It is for torch 2.13, which docs/install.md has for Python 3.11 and 3.13 alone: take one of these'
        return super().advice()

    def convert(
        self, network: Network, image: Tensor, path: Path, precision: str, calibration: Sequence[Tensor] = ()
    ) -> None:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        if precision == 'int8':
            check_calibration(self.name, calibration)
        module = Normalized(network.module) if network.image else network.module
        module = split_depthwise(module)
        image = image.contiguous()  # a channels-last example lowers and then fails when it runs
        with quiet():
            if precision == 'int8':
                module = quantize(module, image, calibration)
            program = torch.export.export(module, (image,))
            program = program.run_decompositions(XNNPACK_WAYS)
            lowered = to_edge_transform_and_lower(
                program, partitioner=[XnnpackPartitioner()], constant_methods=constants(network)
            )
            path.write_bytes(lowered.to_executorch().buffer)

    def load(self, path: Path, precision: str) -> Run:
        from executorch.runtime import Runtime as Engine

        method = Engine.get().load_program(path).load_method('forward')
        return lambda image: tuple(map(torch.clone, method.execute([image.contiguous()])))

    def operators(self, path: Path) -> Counter:
        from executorch.exir._serialize._program import deserialize_pte_binary

        program = deserialize_pte_binary(path.read_bytes()).program
        plan = next(plan for plan in program.execution_plan if plan.name == 'forward')
        names = [f'{operator.name}.{operator.overload}' for operator in plan.operators]
        calls = [instruction.instr_args for chain in plan.chains for instruction in chain.instructions]
        kinds = Counter(names[call.op_index] for call in calls if hasattr(call, 'op_index'))
        kinds['delegate'] = sum(hasattr(call, 'delegate_index') for call in calls)
        return kinds


class ExecuTorchCoreMl(ExecuTorch):
    """ExecuTorch with Core ML, for apps on Apple's devices: the file is written on any system."""

    name, suffix = 'executorch-coreml', '_coreml.pte'
    modules = (*ExecuTorch.modules, 'coremltools', 'executorch.backends.apple.coreml.executorchcoreml')
    extras = ('executorch', 'coreml')
    precisions = ('fp16', 'fp32')
    form = dict(num_chunks=16)
    options = ('ios',)
    ios = 16

    def convert(
        self, network: Network, image: Tensor, path: Path, precision: str, calibration: Sequence[Tensor] = ()
    ) -> None:
        with quiet():
            import coremltools as ct
            from executorch.backends.apple.coreml.compiler import CoreMLBackend
            from executorch.backends.apple.coreml.partition import CoreMLPartitioner
            from executorch.exir import to_edge_transform_and_lower

            module = Normalized(network.module) if network.image else network.module
            specs = CoreMLBackend.generate_compile_specs(
                compute_precision=ct.precision.FLOAT32 if precision == 'fp32' else ct.precision.FLOAT16,
                minimum_deployment_target=getattr(ct.target, f'iOS{self.ios}'),
            )
            program = torch.export.export(module, (image,))
            lowered = to_edge_transform_and_lower(
                program,
                partitioner=[CoreMLPartitioner(compile_specs=specs)],
                constant_methods=constants(network),
            )
            path.write_bytes(lowered.to_executorch().buffer)

    def load(self, path: Path, precision: str) -> Run:
        raise UserError("executorch-coreml: an app on one of Apple's devices runs it")

    def numbers(self, path: Path, precision: str) -> None:
        return None


def constants(network: Network) -> dict[str, str]:
    """What the file says of itself, as methods that return it; ExecuTorch's files have no metadata."""
    return {f'about_{key}': value for key, value in network.about.items()}


def split_by_slices(x: Tensor, size: int, dim: int = 0) -> list[Tensor]:
    """What `torch.split` does."""
    return [x.narrow(dim, start, min(size, x.shape[dim] - start)) for start in range(0, x.shape[dim], size)]


def softmax_of_rows(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """What `torch.softmax` does, along the last dimension."""
    return torch.ops.aten._softmax(x.transpose(dim, -1), -1, False).transpose(dim, -1)


TAPS = 25  # of the largest depthwise convolution that XNNPACK has a fast kernel for; a 7x7 one takes 30 times as long


class Strips(nn.Module):
    """A depthwise convolution as a sum of such of three columns, a distance d = 1, 2, ... apart.

    All but the first have a zero in the middle, so that each column counts once.

    Args:
        conv: A depthwise convolution with an odd number of columns that keeps the width.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        rows, columns = conv.kernel_size
        middle = columns // 2
        self.strips = nn.ModuleList()
        for distance in range(1, middle + 1):
            strip = nn.Conv2d(
                conv.in_channels,
                conv.out_channels,
                (rows, 3),
                padding=(conv.padding[0], distance),
                dilation=(1, distance),
                groups=conv.groups,
                bias=conv.bias is not None and distance == 1,
            ).to(conv.weight)
            strip.weight.copy_(conv.weight[..., [middle - distance, middle, middle + distance]])
            if distance > 1:
                strip.weight[..., 1] = 0
            elif conv.bias is not None:
                strip.bias.copy_(conv.bias)
            self.strips.append(strip)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to what the convolution maps it to."""
        first, *others = (strip(x) for strip in self.strips)
        for other in others:
            first = first + other
        return first


@torch.no_grad()
def split_depthwise(module: nn.Module) -> nn.Module:
    """A copy of the module in which XNNPACK has a fast kernel for every depthwise convolution."""
    module = copy.deepcopy(module)
    for part in list(module.modules()):
        for name, conv in part.named_children():
            if (
                isinstance(conv, nn.Conv2d)
                and conv.groups == conv.in_channels
                and conv.weight[0, 0].numel() > TAPS
                and conv.stride == conv.dilation == (1, 1)
                and conv.padding[1] == (conv.kernel_size[1] - 1) / 2
            ):
                setattr(part, name, Strips(conv))
    return module


# XNNPACK takes slices and no splits, and softmax of the last dimension alone.
XNNPACK_WAYS = {torch.ops.aten.split.Tensor: split_by_slices, torch.ops.aten.softmax.int: softmax_of_rows}


def quantize(module: torch.nn.Module, image: Tensor, calibration: Sequence[Tensor]) -> torch.nn.Module:
    """The module in int8, its weights by channel."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, SharedQuantizationSpec

    class Quantizer(XNNPACKQuantizer):
        def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
            model = super().annotate(model)
            for target in (torch.ops.aten.pad.default, torch.ops.aten.slice.Tensor):
                for node in model.graph.find_nodes(op='call_function', target=target):
                    same = SharedQuantizationSpec(node.args[0])  # XNNPACK pads and cuts in the scale of the input alone
                    node.meta['quantization_annotation'] = QuantizationAnnotation(
                        {node.args[0]: same}, same, _annotated=True
                    )
            return model

    quantizer = Quantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(module, (image,)).module(), quantizer)
    for sample in calibration:
        prepared(sample)
    return convert_pt2e(prepared)
