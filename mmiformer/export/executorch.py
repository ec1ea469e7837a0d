"""ExecuTorch's files, computed by XNNPACK."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .networks import Network, Normalized
from .runtime import Run, Runtime, check_calibration, quiet


class ExecuTorch(Runtime):
    """ExecuTorch with XNNPACK, which takes the whole network as one piece."""

    name, suffix, modules = 'executorch', '.pte', ('executorch.exir', 'torchao')
    networks = ('backbone', 'classifier')
    precisions = ('fp32', 'int8')
    form = dict(num_chunks=1)

    def convert(
        self, network: Network, image: Tensor, path: Path, precision: str, calibration: Sequence[Tensor] = ()
    ) -> None:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        if precision == 'int8':
            check_calibration(self.name, calibration)
        module = Normalized(network.module) if network.image else network.module
        image = image.contiguous()  # a channels-last example lowers and then fails when it runs
        with quiet():
            if precision == 'int8':
                module = quantize(module, image, calibration)
            program = torch.export.export(module, (image,))
            program = program.run_decompositions(XNNPACK_WAYS)
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            path.write_bytes(lowered.to_executorch().buffer)

    def load(self, path: Path, precision: str) -> Run:
        from executorch.runtime import Runtime as Engine

        method = Engine.get().load_program(path).load_method('forward')
        return lambda image: tuple(map(torch.clone, method.execute([image.contiguous()])))

    def operators(self, path: Path) -> Counter:
        from executorch.exir._serialize._program import deserialize_pte_binary

        program = deserialize_pte_binary(path.read_bytes()).program
        [plan] = program.execution_plan
        names = [f'{operator.name}.{operator.overload}' for operator in plan.operators]
        calls = [instruction.instr_args for chain in plan.chains for instruction in chain.instructions]
        kinds = Counter(names[call.op_index] for call in calls if hasattr(call, 'op_index'))
        kinds['delegate'] = sum(hasattr(call, 'delegate_index') for call in calls)
        return kinds


def split_by_slices(x: Tensor, size: int, dim: int = 0) -> list[Tensor]:
    """What `torch.split` does."""
    return [x.narrow(dim, start, min(size, x.shape[dim] - start)) for start in range(0, x.shape[dim], size)]


def softmax_of_rows(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """What `torch.softmax` does, along the last dimension."""
    return torch.ops.aten._softmax(x.transpose(dim, -1), -1, False).transpose(dim, -1)


# XNNPACK takes slices and no splits, and softmax of the last dimension alone.
XNNPACK_WAYS = {torch.ops.aten.split.Tensor: split_by_slices, torch.ops.aten.softmax.int: softmax_of_rows}


def quantize(module: torch.nn.Module, image: Tensor, calibration: Sequence[Tensor]) -> torch.nn.Module:
    """The module in int8, its weights by channel."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(module, (image,)).module(), quantizer)
    for sample in calibration:
        prepared(sample)
    return convert_pt2e(prepared)
