"""What is measured: a network in a form, named `NETWORK` or `NETWORK:FORM`, such as `m:deploy-bf16`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..export import Network, find_runtime, write
from ..models import ARCHS, IFormer, export_form
from ..models.compiling import allow_graphs
from ..models.timm_backbone import import_timm
from ..published import PUBLISHED
from ..stack import CPU_AUTOCAST
from .peers import PEERS, fold_batch_norms
from .reference import Reference

Maps = tuple[Tensor, ...]
Run = Callable[[Tensor], Maps]

# ---- how a form is made: from a network, which it may change, a batch of images in float32 and the data type


def cast(network: nn.Module, image: Tensor, dtype: torch.dtype) -> tuple[Run, Tensor]:
    """The network as it is, in this data type."""
    return network.to(dtype), image.to(dtype)


def reference(network: nn.Module, image: Tensor, dtype: torch.dtype) -> tuple[Run, Tensor]:
    return cast(Reference(network, folded=not network.training), image, dtype)


def deploy(network: nn.Module, image: Tensor, dtype: torch.dtype) -> tuple[Run, Tensor]:
    network.switch_to_deploy(dtype)
    return network, image  # which it casts by itself


def export(network: nn.Module, image: Tensor, dtype: torch.dtype) -> tuple[Run, Tensor]:
    return cast(export_form(network), image, dtype)


def fold(network: nn.Module, image: Tensor, dtype: torch.dtype) -> tuple[Run, Tensor]:
    return cast(fold_batch_norms(network, image), image, dtype)


def channels_last(network: nn.Module, image: Tensor, dtype: torch.dtype) -> tuple[Run, Tensor]:
    network, image = cast(network, image, dtype)
    return network.to(memory_format=torch.channels_last), image.to(memory_format=torch.channels_last)


def autocast(network: nn.Module, image: Tensor, dtype: torch.dtype) -> tuple[Run, Tensor]:
    return torch.autocast(image.device.type, dtype)(network.forward), image


def compiled(make: Callable) -> Callable:
    """What `make` makes, as one graph of torch.compile; inference on a GPU with CUDA graphs."""

    def make_and_compile(network: nn.Module, image: Tensor, dtype: torch.dtype) -> tuple[Run, Tensor]:
        run, image = make(network, image, dtype)
        allow_graphs(256)  # each network and size has one of its own
        options = {'triton.cudagraphs': image.device.type == 'cuda' and not network.training}
        return torch.compile(run, dynamic=False, fullgraph=True, options=options), image

    return make_and_compile


class Whole(nn.Module):
    """A network with an `eval()` that returns it, which that of mmdet's ResNet does not."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Maps:
        return self.network(x)


def converted(
    network: nn.Module, image: Tensor, dtype: torch.dtype, runtime: str, precision: str, **form: object
) -> tuple[Run, Tensor]:
    """The network in another runtime: an iFormer in its export form, others with folded batch norms."""
    engine = find_runtime(runtime)
    if isinstance(network, IFormer):
        whole = export_form(network, **{**engine.form, **form})
    else:
        whole = fold_batch_norms(network, image)
    whole = Whole(whole)
    outputs = tuple(f'stage{index + 1}' for index in range(len(whole(image))))
    with TemporaryDirectory() as folder:
        path = Path(folder, f'backbone{engine.suffix}')
        write(engine, Network(whole, outputs), image, path, precision, [image] * (precision == 'int8'))
        return engine.load(path, precision), image


# ---- the forms


@dataclass(frozen=True)
class Form:
    """A way to run a network.

    Attributes:
        meaning: What it is, in one line.
        make: From a network, a batch of images in float32 and a data type: what a step calls, and with what.
        networks: Which ones have it: 'iformer', 'timm' or both.
        steps: In what: 'infer', 'train' or both.
        dtype: Of its arithmetic; None for that of the run.
        options: Arguments that the `IFormer` is built with, as pairs of name and value.
        runtime: Another runtime that computes it, and in what precision.
    """

    meaning: str
    make: Callable[[nn.Module, Tensor, torch.dtype], tuple[Run, Tensor]] = cast
    networks: tuple[str, ...] = ('iformer', 'timm')
    steps: tuple[str, ...] = ('infer', 'train')
    dtype: torch.dtype | None = None
    options: tuple[tuple[str, object], ...] = ()
    runtime: tuple[str, str] | None = None


def _runtime(
    meaning: str,
    runtime: str,
    precision: str = 'fp32',
    dtype: torch.dtype | None = torch.float32,
    networks: tuple[str, ...] = ('iformer', 'timm'),
    **form: object,
) -> Form:
    make = partial(converted, runtime=runtime, precision=precision, **form)
    return Form(meaning, make, networks, ('infer',), dtype, runtime=(runtime, precision))


_OURS, _THEIRS, _INFER, _TRAIN = ('iformer',), ('timm',), ('infer',), ('train',)
_BF16, _FP16 = torch.bfloat16, torch.float16
FORMS = {
    'plain': Form('as it is built; the form of a name without one'),
    'reference': Form('as the released code runs it; for inference batch norms and CPE are folded', reference, _OURS),
    'reference-unchunked': Form(
        'the same with windows cut from all channels at once', reference, _OURS, options=(('num_chunks', 1),)
    ),
    'deploy': Form('the form for inference', deploy, _OURS, _INFER),
    'deploy-bf16': Form('the form for inference in bfloat16', deploy, _OURS, _INFER, _BF16),
    'deploy-compile': Form('the form for inference through torch.compile', compiled(deploy), _OURS, _INFER),
    'export': Form('the form for other runtimes, in torch', export, _OURS, _INFER),
    'global': Form(
        'attention among all tokens everywhere, no windows', networks=_OURS, options=(('window_size', None),)
    ),
    'with_cp': Form('keeps only the inputs of the blocks', networks=_OURS, steps=_TRAIN, options=(('with_cp', True),)),
    'folded': Form('batch norms folded into convolutions where timm leaves them', fold, _THEIRS, _INFER),
    'nhwc': Form('weights and images channels-last in memory, as iFormer has them by itself', channels_last, _THEIRS),
    'compile': Form('through torch.compile; for inference on a GPU with CUDA graphs', compiled(cast)),
    'bf16': Form('in bfloat16', dtype=_BF16),
    'autocast-bf16': Form('weights in float32, bfloat16 by autocast', autocast, dtype=_BF16),
    'autocast-fp16': Form('weights in float32, float16 by autocast', autocast, dtype=_FP16),
    'openvino': _runtime('in OpenVINO', 'openvino'),
    'openvino-chunked': _runtime(
        'in OpenVINO, windows in 16 channel chunks', 'openvino', networks=_OURS, num_chunks=16
    ),
    'openvino-bf16': _runtime('in OpenVINO in bfloat16', 'openvino', 'bf16', _BF16),
    'openvino-int8': _runtime('in OpenVINO in int8', 'openvino', 'int8', torch.int8),
    'onnx': _runtime('in ONNX Runtime', 'onnx'),
    'onnx-unchunked': _runtime(
        'in ONNX Runtime, windows cut from all channels at once', 'onnx', networks=_OURS, num_chunks=1
    ),
    'executorch': _runtime('in ExecuTorch with XNNPACK', 'executorch'),
    'executorch-int8': _runtime('in ExecuTorch with XNNPACK in int8', 'executorch', 'int8', torch.int8),
    'executorch-chunked': _runtime(
        'in ExecuTorch with XNNPACK, windows in 16 channel chunks', 'executorch', networks=_OURS, num_chunks=16
    ),
}


@dataclass(frozen=True)
class Contestant:
    """A network in a form.

    Attributes:
        name: As it was asked for.
        network: One of `ARCHS` or of `PEERS`.
        form: Its form.
    """

    name: str
    network: str
    form: Form

    @property
    def is_ours(self) -> bool:
        return self.network in ARCHS

    @property
    def label(self) -> str:
        """The network's name in print, and the form's."""
        network = f'iFormer-{self.network.upper()}' if self.is_ours else PEERS[self.network].row
        return ' '.join([network, *self.name.split(':')[1:]])

    @property
    def published(self) -> dict[str, float]:
        """{'box_AP', 'mask_AP', 'mIoU'} that are published for the network, as far as they are."""
        if not self.is_ours:
            return PEERS[self.network].published
        if self.form is FORMS['global']:
            return {}
        files = [file for file in PUBLISHED.values() if file.arch == self.network and file.task in ('coco', 'ade20k')]
        return {metric: value for file in files for metric, value in file.result.items()}


def require(contestants: Sequence[Contestant], device: torch.device) -> None:
    """Check that what contestants need is installed and that their runtimes compute on this device.

    Raises:
        UserError: Something is missing, or a runtime is to compute on a GPU.
    """
    for contestant in contestants:
        if contestant.form.runtime:
            if device.type != 'cpu':
                raise UserError(f'{contestant.name}: other runtimes are measured on the CPU alone, not on {device}')
            runtime, precision = contestant.form.runtime
            find_runtime(runtime).require('backbone', precision)
        elif contestant.form.make is autocast and device.type == 'cpu' and contestant.form.dtype not in CPU_AUTOCAST:
            raise UserError(f'{contestant.name}: on the CPU, torch {torch.__version__} has no autocast for it')
    if not all(contestant.is_ours for contestant in contestants):
        try:
            import_timm()
        except ImportError as error:
            raise UserError(str(error)) from error


def parse(name: str, train: bool = False) -> Contestant:
    """Read a contestant's name, `NETWORK` or `NETWORK:FORM`.

    Args:
        name: The name.
        train: Whether training is to be measured.

    Raises:
        UserError: The network is unknown, or it has no such form.
    """
    network, _, form = name.partition(':')
    if network not in ARCHS and network not in PEERS:
        raise UserError(f'{name}: {network!r} is none of the networks {", ".join([*ARCHS, *PEERS])}')
    family, step = 'iformer' if network in ARCHS else 'timm', 'train' if train else 'infer'
    forms = [key for key, value in FORMS.items() if family in value.networks and step in value.steps]
    form = form or 'plain'
    if form not in forms:
        raise UserError(f'{name}: with --what {step}, {network} has the forms {", ".join(forms)}, not {form!r}')
    return Contestant(name, network, FORMS[form])


def combine(names: Sequence[str], forms: Sequence[str], train: bool = False) -> list[str]:
    """Names of all networks in all of these forms that they have; a name with a form of its own stays as it is.

    Args:
        names: Names as :func:`parse` reads them.
        forms: Names of forms; none for the networks as they are built.
        train: Whether training is to be measured.

    Raises:
        UserError: A network has none of the forms.
    """
    combined = []
    for name in names:
        if ':' in name or not forms:
            combined.append(name)
            continue
        family, step = 'iformer' if name in ARCHS else 'timm', 'train' if train else 'infer'
        fitting = [form for form in forms if family in FORMS[form].networks and step in FORMS[form].steps]
        if not fitting:
            raise UserError(f'{name} has none of the forms {", ".join(forms)} with --what {step}')
        combined += [name if form == 'plain' else f'{name}:{form}' for form in fitting]
    return list(dict.fromkeys(combined))
