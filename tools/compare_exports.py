"""What every runtime makes of a backbone: how far it is from torch, and of which operators it consists, as two tables.

python tools/compare_exports.py m --sizes 224 512 800x1344 --photos data/coco/val2017 --out work_dirs/exports

A variant has random weights. Core ML's packages are computed by the interpreter of this package but on a Mac.
"""

import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from pathlib import Path

import torch

from mmiformer.benchmark.report import processor
from mmiformer.benchmark.run import randomize_norms
from mmiformer.benchmark.timing import add_sizes, track
from mmiformer.engine.cli import add_trust, command
from mmiformer.errors import UserError
from mmiformer.export import RUNTIMES, Runtime, find_runtime, network_of, write
from mmiformer.export.parity import EQUAL, differences, graph_of, samples
from mmiformer.files import expect_file, whole_file
from mmiformer.models import ARCHS, IFormer
from mmiformer.models.loading import load_pretrained
from mmiformer.report import markdown

# What moves numbers without computing any, by the names that runtimes have for it.
MOVES = {
    'reshapes': {'reshape', 'view', 'unsqueeze', 'squeeze', 'expand_dims'},
    'transposes': {'transpose', 'permute'},
    'slices, splits': {'slice', 'slice_by_index', 'stridedslice', 'split', 'variadicsplit'},
    'concatenations': {'concat', 'cat'},
}
# Forms of which the operators are counted beside each runtime's own.
OTHERS = {
    'coreml': {'1 chunk': dict(num_chunks=1), '1 chunk, slices': dict(num_chunks=1, by_slices=True)},
    'onnx': {'1 chunk': dict(num_chunks=1)},
    'openvino': {'16 chunks': dict(num_chunks=16)},
}


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('network', metavar='ARCH', choices=ARCHS, help=f'one of {" ".join(ARCHS)}')
    parser.add_argument('--checkpoint', metavar='WEIGHTS', help='a file, a URL, or the name of a published one')
    runtimes = [name for name in RUNTIMES if name != 'web']  # which is ONNX
    parser.add_argument('--to', nargs='+', choices=runtimes, default=runtimes, help='default: all')
    add_sizes(parser, '; operators are counted at the first')
    parser.add_argument('--photos', metavar='DIR', type=Path, help='a folder of images (default: drawn scenes)')
    parser.add_argument('--out', metavar='DIR', type=Path, help='write table.md there')
    add_trust(parser)
    return parser.parse_args()


def build(args: Namespace) -> IFormer:
    torch.manual_seed(0)
    backbone = IFormer(args.network)
    if args.checkpoint:
        load_pretrained(backbone, args.checkpoint, trust=args.trust_checkpoint)
    else:
        randomize_norms(backbone)
    return backbone.eval()


def moves(title: str, kinds: Counter) -> tuple[str, ...]:
    """A row of the table of operators."""
    counts = [sum(n for kind, n in kinds.items() if kind.lower() in names) for names in MOVES.values()]
    return title, *map(str, (sum(kinds.values()), *counts))


def converted(runtime: Runtime, precision: str, args: Namespace, backbone: IFormer, folder: Path) -> list[str]:
    """The cells of a precision: how far the levels are from torch at each size, the farthest of them."""
    network = network_of(backbone, 'backbone', **runtime.form)
    cells = []
    for height, width in args.sizes:
        images = samples(args.photos, height, width, 8 if precision == 'int8' else 2)
        path = folder / f'{height}x{width}_{precision}{runtime.suffix}'
        write(runtime, network, images[0], path, precision, images)
        run = runtime.numbers(path, precision)
        if run is None:
            cells.append('not run')
            continue
        found = differences(network, run, images[:2])
        largest, rms = (max(getattr(one, name) for one in found) for name in ('largest', 'rms'))
        if precision == 'fp32' and not largest <= EQUAL:
            raise UserError(
                f'{runtime.name}: in fp32 it must not be further than {EQUAL:g} from torch, but is {largest}'
            )
        cells.append(f'{largest:.1e} ({rms:.1e})')
    return cells


@command('nothing was written')
@torch.no_grad()
def main() -> None:
    args = parse_args()
    if args.out:
        args.out = args.out.expanduser() / 'table.md'
        expect_file(args.out)
    if args.photos:
        samples(args.photos, *args.sizes[0], 1)  # before minutes of converting, in case there are none
    runtimes = [find_runtime(name) for name in args.to]
    for runtime in runtimes:
        runtime.require('backbone', None)
    backbone, image = build(args), torch.zeros(1, 3, *args.sizes[0])
    near, operators = [], [moves('torch, as it is', graph_of(backbone, image))]
    with tempfile.TemporaryDirectory(prefix='mmiformer-') as folder:
        for runtime in track(runtimes, 'converting'):
            for precision in runtime.precisions:
                near.append((runtime.name, precision, *converted(runtime, precision, args, backbone, Path(folder))))
            chunks = runtime.form['num_chunks']
            forms = {f'{chunks} chunk{"s" * (chunks > 1)}': {}, **OTHERS.get(runtime.name, {})}
            for title, form in forms.items():
                path = Path(folder, f'operators{runtime.suffix}')
                network = network_of(backbone, 'backbone', **{**runtime.form, **form})
                write(runtime, network, image, path, 'fp32')
                operators.append(moves(f'{runtime.name}, {title}', runtime.operators(path)))
    sizes = [f'{height} x {width}' for height, width in args.sizes]
    text = (
        f'iFormer-{args.network.upper()}, {args.checkpoint or "random weights"}, {processor()}\n\n'
        'Largest difference of a level from torch over its largest value (root mean square over that of the values), '
        'of the level that is farthest:\n\n'
        f'{markdown(("runtime", "precision", *sizes), near)}\n\nOperators at {sizes[0]}:\n\n'
        f'{markdown(("graph", "operators", *MOVES), operators)}\n'
    )
    print(f'\n{text}', end='')
    if args.out:
        with whole_file(args.out) as part:
            part.write_text(text)


if __name__ == '__main__':
    main()
