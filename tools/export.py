"""Write a network as a file for Core ML, ONNX, OpenVINO, ExecuTorch or a browser, and hold it against torch.

python tools/export.py m --to coreml --size 512 --out exports
python tools/export.py configs/sem_fpn/iformer_m_40k.py --checkpoint iFormer_m_iter_40000.pth \\
    --to onnx --what segmentor --image --out exports
"""

import platform
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from pathlib import Path

import torch
from torch import nn

from mmiformer.benchmark.timing import spread
from mmiformer.engine.building import building
from mmiformer.engine.cli import add_trust, command
from mmiformer.engine.config import import_toolbox, read_config
from mmiformer.engine.runner import load_whole
from mmiformer.engine.runs import read_checkpoint
from mmiformer.errors import UserError, few
from mmiformer.export import NETWORKS, RUNTIMES, Network, Runtime, combinations, find_runtime, network_of, write
from mmiformer.export.onnx import SIDES
from mmiformer.export.parity import EQUAL, differences, graph_of, samples
from mmiformer.export.replace import read_images
from mmiformer.inference.predictor import classes_and_palette
from mmiformer.models import ARCHS, IFormer, IFormerClassifier
from mmiformer.models.classifier import load_classifier
from mmiformer.models.loading import load_pretrained


def parse_args() -> Namespace:
    parser = ArgumentParser(
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
        epilog=f'what there is, defaults first:\n{combinations()}',
    )
    parser.add_argument('network', metavar='CONFIG_OR_ARCH', help=f'a config file, or one of {" ".join(ARCHS)}')
    parser.add_argument('--to', choices=RUNTIMES, required=True, help='the runtime')
    parser.add_argument('--what', choices=NETWORKS, default='backbone', help='default: %(default)s')
    parser.add_argument('--checkpoint', metavar='WEIGHTS', help='a file, a URL, or the name of a published one')
    parser.add_argument(
        '--size',
        type=int,
        nargs='+',
        default=[512],
        metavar='PIXELS',
        help='side of the image, or its height and width (default: 512)',
    )
    parser.add_argument('--precision', choices=('fp32', 'fp16', 'bf16', 'int8'), help='default: by the runtime')
    parser.add_argument('--chunks', type=int, metavar='N', help='channel chunks of windows (default: by the runtime)')
    parser.add_argument('--slices', action='store_true', help='cut windows by slices, which takes no reshapes')
    parser.add_argument(
        '--dynamic',
        action='store_true',
        help=f'ONNX: a file for any number of images of any size in multiples of {SIDES}; --size is that of the check',
    )
    parser.add_argument(
        '--ios', type=int, choices=(16, 18), help='Core ML: from which iOS on (default: 16); 18 fuses attention'
    )
    parser.add_argument('--image', action='store_true', help='take RGB images from 0 to 255, not normalized ones')
    parser.add_argument(
        '--calibrate',
        metavar='DIR',
        type=Path,
        help="a folder of images, for int8's ranges (Core ML's int8 needs none)",
    )
    parser.add_argument(
        '--photos', metavar='DIR', type=Path, help='a folder of images to compare on (default: drawn scenes)'
    )
    parser.add_argument('--out', metavar='DIR', type=Path, required=True, help='the folder to write to')
    add_trust(parser)
    args = parser.parse_args()
    if len(args.size) > 2 or min(args.size) < 32:
        parser.error('--size takes one number or two, from 32 up')
    if args.chunks is not None and args.chunks < 1:
        parser.error('--chunks takes a number from 1 up')
    if args.dynamic and args.slices:
        parser.error('--slices needs a fixed size, so it does not go with --dynamic')
    if args.dynamic and any(side % SIDES for side in args.size):
        parser.error(f'--dynamic takes sizes in multiples of {SIDES}')
    return args


def set_up(args: Namespace) -> tuple[Runtime, str]:
    """The runtime with its options, and the precision.

    Raises:
        UserError: There is no such combination, or a package is missing.
    """
    runtime = find_runtime(args.to)
    for name in ('ios', 'dynamic'):
        if value := getattr(args, name):
            if name not in runtime.options:
                those = [other for other in RUNTIMES if name in find_runtime(other).options]
                raise UserError(f'--{name} is for --to {" or ".join(those)}, not for {args.to}')
            setattr(runtime, name, value)
    precision = runtime.require(args.what, args.precision)
    if args.calibrate and (precision != 'int8' or args.to == 'coreml'):
        raise UserError(f'--calibrate is for int8 that has ranges; {args.to} in {precision} has none')
    return runtime, precision


def build_arch(args: Namespace) -> nn.Module:
    """The classifier or backbone of a variant, with random weights where no checkpoint is named."""
    if args.what not in ('backbone', 'classifier'):
        raise UserError(f'--what {args.what} needs a config, {args.network} is a variant')
    if args.what == 'classifier':
        if args.checkpoint:
            return load_classifier(args.checkpoint, args.trust_checkpoint)
        return IFormerClassifier(args.network)
    backbone = IFormer(args.network)
    if args.checkpoint:
        load_pretrained(backbone, args.checkpoint, trust=args.trust_checkpoint)
    return backbone


def build_config(args: Namespace) -> nn.Module:
    """The detector or segmentor of a config, with its weights."""
    cfg = read_config(args.network)
    if not args.checkpoint:
        raise UserError(f'{args.network}: name its weights by --checkpoint; only a variant, such as m, goes without')
    import_toolbox(cfg)
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(cfg.default_scope)
    with building(cfg, 'model'):
        model = MODELS.build(cfg.model)
    checkpoint = read_checkpoint(args.checkpoint, args.trust_checkpoint)
    load_whole(model, checkpoint['state_dict'], args.checkpoint)
    if args.what == 'segmentor' and args.to in ('onnx', 'web'):  # which draw with them
        classes, palette = classes_and_palette(cfg, checkpoint)
        model.dataset_meta = dict(classes=classes, palette=palette)
    return model


def show(title: str, kinds: Counter) -> None:
    print(f'{title}: {sum(kinds.values())} operators ({", ".join(f"{n} {kind}" for kind, n in kinds.most_common())})')


def compare(runtime: Runtime, network: Network, path: Path, precision: str, images: list[torch.Tensor]) -> None:
    """Say how far the file is from torch.

    Raises:
        UserError: It computes something else.
    """
    run = runtime.numbers(path, precision)
    if run is None:
        print('not compared with torch: this machine cannot run it')
        return
    found = differences(network, run, images)
    by = ' (computed by the interpreter of mmiformer)' if type(run).__name__ == 'Program' else ''
    print(f'largest difference from torch, over the largest value{by}:')
    print('  ' + ', '.join(f'{one.output} {one.largest:.1e}' for one in found))
    limits = [10 * EQUAL if one.output == 'labels' else EQUAL for one in found]  # the best two logits may be as good
    if precision == 'fp32' and not all(one.largest <= limit for one, limit in zip(found, limits, strict=True)):
        raise UserError(f'{path} was written, but in fp32 it must not be as far as that from torch: do not use it')


@command('nothing was written')
def main() -> None:
    args = parse_args()
    runtime, precision = set_up(args)
    height, width = args.size[0], args.size[-1]
    photos = samples(args.photos, height, width, 2, args.image)
    images = read_images(args.calibrate, height, width, image=args.image) if args.calibrate else ()
    torch.manual_seed(0)
    model = (build_arch if args.network in ARCHS else build_config)(args).eval()
    weights = Path(args.checkpoint).name if args.checkpoint else 'random'
    name = Path(args.network).stem if args.network not in ARCHS else f'iformer_{args.network}'
    size, size_name = f'{height} x {width}', f'{height}x{width}'
    if args.what.endswith('_head'):
        size, size_name = 'any number of proposals', 'any'
    elif args.dynamic:
        size, size_name = f'multiples of {SIDES}', 'dynamic'
    about = dict(network=name, what=args.what, weights=weights, size=size, precision=precision)
    form = dict(runtime.form, by_slices=args.slices, fused_attention=args.ios == 18)
    if args.chunks:
        form['num_chunks'] = args.chunks
    network = network_of(model, args.what, args.image, about, **form)
    if network.cut:
        photos, images = ([network.cut(x) for x in those] for those in (photos, images))
    path = args.out.expanduser() / runtime.file_name(f'{name}_{args.what}_{size_name}_{precision}')
    write(runtime, network, photos[0], path, precision, images)
    if args.what in ('backbone', 'classifier'):
        show('torch', graph_of(getattr(model, 'backbone', model) if args.what == 'backbone' else model, photos[0]))
    show(args.to, runtime.operators(path))
    takes = 'crops of {} x {} x {}'.format(*photos[0].shape[1:]) if network.cut else 'image'
    print(f'input: {takes}; outputs: {few(network.outputs, 20)}')
    compare(runtime, network, path, precision, photos)
    if args.to == 'coreml' and platform.system() == 'Darwin':
        low, median, high = spread(runtime.times(path))
        print(f'Core ML on this Mac: {median:.2f} ms, quartiles {low:.2f} to {high:.2f}')
    print(f'written to {path}' + ('' if args.checkpoint else ', with random weights'))
    if args.to == 'web':
        print(f'look at it: python tools/serve_page.py {path.parent}')


if __name__ == '__main__':
    main()
