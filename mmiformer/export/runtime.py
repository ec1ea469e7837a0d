"""What all runtimes have in common, and the table of them."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import UserError
from ..stack import can_export
from .networks import Network

Run = Callable[[Tensor], tuple[Tensor, ...]]

# {--to: module of this package and class}; a module imports its runtime only when it is used.
RUNTIMES = {
    'coreml': ('coreml', 'CoreMl'),
    'onnx': ('onnx', 'Onnx'),
    'openvino': ('openvino', 'OpenVino'),
    'executorch': ('executorch', 'ExecuTorch'),
    'executorch-coreml': ('executorch', 'ExecuTorchCoreMl'),
    'web': ('web', 'Web'),
}
RUNNABLE = ('onnx', 'openvino', 'executorch')  # on any machine; Core ML runs on Apple's alone


class Runtime:
    """A runtime: what it needs, how it converts, how it runs.

    Attributes:
        name: As in `--to`.
        extras: Of the package, which install it.
        modules: What must be importable.
        suffix: Of its files.
        networks: What it can take, out of `NETWORKS`.
        precisions: What it can compute in, the default first.
        form: Options of :func:`~mmiformer.models.export_form` that suit it.
        options: Attributes of its own that may be set, such as `ios`.
    """

    name: ClassVar[str]
    extras: ClassVar[tuple[str, ...]]
    modules: ClassVar[tuple[str, ...]]
    suffix: ClassVar[str]
    networks: ClassVar[tuple[str, ...]]
    precisions: ClassVar[tuple[str, ...]]
    form: ClassVar[dict]
    options: ClassVar[tuple[str, ...]] = ()

    def require(self, what: str, precision: str | None) -> str:
        """Check a combination of options and that the runtime is installed, and return the precision.

        Raises:
            UserError: There is no such combination, or a package is missing.
        """
        precision = precision or self.precisions[0]
        if what not in self.networks or precision not in self.precisions:
            raise UserError(f'{self.name} has no --what {what} in {precision}. What there is:\n{combinations()}')
        if not can_export():
            raise UserError(f'exports need torch 2.8 or later, and this is {torch.__version__}')
        for module in self.modules:
            try:
                with quiet():
                    import_module(module)
            except ImportError as error:
                raise UserError(
                    f'{self.name} needs {module}, which cannot be imported ({error}). {self.advice()}'
                ) from error
        return precision

    def advice(self) -> str:
        """How it is installed."""
        files = ' '.join(f'-r requirements/{extra}.txt' for extra in self.extras)
        return f"Install it: pip install {files}, or pip install 'mmiformer[{','.join(self.extras)}]'"

    def file_name(self, stem: str) -> str:
        """What a file is called, or the first of several."""
        return stem + self.suffix

    def convert(
        self, network: Network, image: Tensor, path: Path, precision: str, calibration: Sequence[Tensor] = ()
    ) -> None:
        """Write the runtime's file.

        Args:
            network: What is converted.
            image: An image (B, 3, H, W) of the size that the file is for.
            path: The file, ending in `suffix`.
            precision: One of `precisions`.
            calibration: Images of that size from which int8's ranges are taken.

        Raises:
            UserError: int8 needs images and there are none.
        """
        raise NotImplementedError

    def load(self, path: Path, precision: str) -> Run:
        """Open a file as a function from an image (B, 3, H, W) to tensors."""
        raise NotImplementedError

    def numbers(self, path: Path, precision: str) -> Run | None:
        """What computes a file's numbers on this machine, to hold them against torch's; None where nothing does."""
        return self.load(path, precision)

    def operators(self, path: Path) -> Counter:
        """{type: how many} of the operators in a file, constants left out."""
        raise NotImplementedError


def find_runtime(name: str) -> Runtime:
    """The runtime of this name in `RUNTIMES`."""
    module, kind = RUNTIMES[name]
    return getattr(import_module(f'{__package__}.{module}'), kind)()


def combinations() -> str:
    """A table of the runtimes: what each takes, what it computes in, its channel chunks; defaults first."""
    runtimes = [find_runtime(name) for name in RUNTIMES]
    rows = [('--to', '--what', '--precision', '--chunks')]
    rows += [(one.name, '|'.join(one.networks), '|'.join(one.precisions), one.form['num_chunks']) for one in runtimes]
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(['', *(f'{cell:{width}}' for cell, width in zip(row, widths, strict=True))]).rstrip() for row in rows
    )


def check_calibration(runtime: str, calibration: Sequence[Tensor]) -> None:
    """Check that there are images to take int8's ranges from.

    Raises:
        UserError: There are none.
    """
    if not calibration:
        raise UserError(
            f'{runtime}: int8 takes the ranges of its values from images; name a folder of some by --calibrate'
        )


@contextlib.contextmanager
def quiet():
    """Silence what the conversion says of itself, on the logs of its libraries and on the screen."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        nowhere = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(level)


@torch.no_grad()
def write(
    runtime: Runtime,
    network: Network,
    image: Tensor,
    path: Path,
    precision: str,
    calibration: Sequence[Tensor] = (),
) -> None:
    """Convert a network; what belongs to the file, or folder, appears only when it is complete.

    Args:
        runtime: The runtime.
        network: What is converted.
        image: An image of the size that the file is for.
        path: The file.
        precision: One of the runtime's.
        calibration: Images of that size, for int8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.export-', dir=path.parent) as folder:
        runtime.convert(network, image, Path(folder, path.name), precision, calibration)
        for part in sorted(Path(folder).iterdir()):  # OpenVINO writes .bin and .xml, Core ML a folder
            _swap(part, path.with_name(part.name))


def _swap(new: Path, target: Path) -> None:
    """Put a file or folder in its place. What was there goes only once the new one stands."""
    if not target.is_dir():
        new.replace(target)
        return
    old = target.rename(new.with_name(f'old-{new.name}'))
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
