"""A static page that runs a network in a browser, by ONNX Runtime's WebGPU and WebAssembly."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from .. import __version__
from ..errors import UserError
from .networks import Network
from .onnx import Onnx, export_onnx
from .parity import drawn_scene
from .replace import as_input
from .runtime import Run

PAGE = Path(__file__).with_name('page.html')
PACKAGE, VERSION = 'onnxruntime-web', '1.30.0'
FILES = (
    'ort.webgpu.min.mjs',
    'ort-wasm-simd-threaded.asyncify.mjs',
    'ort-wasm-simd-threaded.asyncify.wasm',
    'ort.wasm.min.mjs',
    'ort-wasm-simd-threaded.mjs',
    'ort-wasm-simd-threaded.wasm',
)


class Web(Onnx):
    """A folder for any static web server: the page, the network, and ONNX Runtime for browsers."""

    name, suffix = 'web', '.html'
    networks = ('segmentor', 'classifier', 'backbone')
    form = dict(num_chunks=1)  # a shader of WebGPU takes no more than 8 to 10 maps, and 16 chunks are 17
    options = ()

    def require(self, what: str, precision: str | None) -> str:
        precision = super().require(what, precision)
        if shutil.which('npm') is None:
            raise UserError(
                f'web takes {PACKAGE} {VERSION} from its npm package, and there is no npm here. Install Node.js, '
                'which brings it (https://nodejs.org)'
            )
        return precision

    def file_name(self, stem: str) -> str:
        return f'index{self.suffix}'

    def convert(
        self, network: Network, image: Tensor, path: Path, precision: str, calibration: Sequence[Tensor] = ()
    ) -> None:
        folder, (height, width) = path.parent, image.shape[2:]
        fetch_runtime(folder / 'ort')
        export_onnx(network, image, folder / 'network.onnx')
        picture = drawn_scene(0).resize((width, height))
        picture.save(folder / 'example.png')
        example = as_input(picture, height, width, image=True)[:, list(network.channels)]
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (network.mean, network.std))
        expected = network.expected((example - mean) / std)[-1]
        expected.numpy().astype(np.float32 if expected.is_floating_point() else np.int32).tofile(
            folder / 'expected.bin'
        )
        with FlopCounterMode(display=False) as counter:
            network.module(image)
        about = network.about
        known = dict(
            key=about['network'],
            title=f'{about["network"]}, {about["what"]}',
            what=about['what'],
            weights=about['weights'],
            size=(height, width),
            output=network.outputs[-1],
            channels=network.channels,
            mean=network.mean,
            std=network.std,
            classes=network.classes,
            palette=network.palette,
            params=sum(parameter.numel() for parameter in network.module.parameters()),
            macs=counter.get_total_flops() // 2,  # a multiplication and its addition are one
            versions=dict(onnxruntime_web=VERSION, mmiformer=__version__),
        )
        (folder / 'network.json').write_text(json.dumps(known) + '\n')
        shutil.copyfile(PAGE, path)

    def load(self, path: Path, precision: str) -> Run:
        return super().load(path.with_name('network.onnx'), precision)

    def operators(self, path: Path) -> Counter:
        return super().operators(path.with_name('network.onnx'))


def fetch_runtime(folder: Path) -> None:
    """Fetch ONNX Runtime's files for browsers by the npm client, which keeps what it fetched in its own cache.

    Args:
        folder: Where they go; it is made.

    Raises:
        UserError: npm does not get the package.
    """
    with TemporaryDirectory() as place:
        command = ['npm', 'pack', f'{PACKAGE}@{VERSION}', '--prefer-offline', '--pack-destination', place]
        done = subprocess.run(command, capture_output=True, text=True, cwd=place)
        packed = [*Path(place).glob('*.tgz')]
        if done.returncode or not packed:
            errors = [line for line in done.stderr.splitlines() if 'notice' not in line]
            raise UserError(f'{" ".join(command[:3])} failed:\n' + '\n'.join(errors[:6]))
        folder.mkdir()
        with tarfile.open(packed[0]) as package:
            for name in FILES:
                with package.extractfile(f'package/dist/{name}') as source, (folder / name).open('wb') as target:
                    shutil.copyfileobj(source, target)
