"""Write a network as a file for another runtime: Core ML, ONNX, OpenVINO or ExecuTorch.

python tools/export.py m --to coreml --size 512 --out exports
python tools/export.py configs/sem_fpn/iformer_m_40k.py --checkpoint iFormer_m_iter_40000.pth \\
    --to onnx --what segmentor --image --out exports
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from pathlib import Path

import torch
from torch import nn

from mmiformer.engine.building import building
from mmiformer.engine.cli import add_trust, command
from mmiformer.engine.config import import_toolbox, read_config
from mmiformer.engine.runner import load_whole
from mmiformer.engine.runs import read_checkpoint
from mmiformer.errors import UserError, few
from mmiformer.export import NETWORKS, RUNTIMES, find_runtime, network_of, write
from mmiformer.export.replace import read_images
from mmiformer.models import ARCHS, IFormer, IFormerClassifier
from mmiformer.models.classifier import load_classifier
from mmiformer.models.loading import load_pretrained


def parse_args() -> Namespace:
    runtimes = [find_runtime(name) for name in RUNTIMES]
    lines = [
        f'  {one.name:10}  --what {"|".join(one.networks)}\n{"":14}--precision {"|".join(one.precisions)}'
        f'   --chunks {one.form["num_chunks"]}'
        for one in runtimes
    ]
    parser = ArgumentParser(
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
        epilog='\n'.join(['what there is, defaults first:', *lines]),
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
        '--ios', type=int, choices=(16, 18), default=16, help='Core ML: from which iOS on; 18 fuses attention'
    )
    parser.add_argument('--image', action='store_true', help='take RGB images from 0 to 255, not normalized ones')
    parser.add_argument('--calibrate', metavar='DIR', type=Path, help='a folder of images, for int8 but in Core ML')
    parser.add_argument('--out', metavar='DIR', type=Path, required=True, help='the folder to write to')
    add_trust(parser)
    args = parser.parse_args()
    if len(args.size) > 2 or min(args.size) < 32:
        parser.error('--size takes one number or two, from 32 up')
    if args.chunks is not None and args.chunks < 1:
        parser.error('--chunks takes a number from 1 up')
    return args


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
    load_whole(model, read_checkpoint(args.checkpoint, args.trust_checkpoint)['state_dict'], args.checkpoint)
    return model


def graph_of(model: nn.Module, image: torch.Tensor) -> Counter:
    """{type: how many} of the operators of a backbone or classifier as it is in torch."""
    program = torch.export.export(model, (image,)).run_decompositions({})
    return Counter(
        str(node.target).removeprefix('aten.').split('.')[0]
        for node in program.graph.nodes
        if node.op == 'call_function' and 'getitem' not in str(node.target)
    )


def show(title: str, kinds: Counter) -> None:
    print(f'{title}: {sum(kinds.values())} operators ({", ".join(f"{n} {kind}" for kind, n in kinds.most_common())})')


@command('nothing was written')
def main() -> None:
    args = parse_args()
    runtime = find_runtime(args.to)
    precision = runtime.require(args.what, args.precision)
    torch.manual_seed(0)
    model = (build_arch if args.network in ARCHS else build_config)(args).eval()
    height, width = args.size[0], args.size[-1]
    image = torch.zeros(1, 3, height, width)
    weights = Path(args.checkpoint).name if args.checkpoint else 'random'
    name = Path(args.network).stem if args.network not in ARCHS else f'iformer_{args.network}'
    about = dict(network=name, what=args.what, weights=weights, size=f'{height} x {width}', precision=precision)
    form = dict(runtime.form, by_slices=args.slices)
    if args.chunks:
        form['num_chunks'] = args.chunks
    if args.to == 'coreml' and args.ios == 18:
        runtime.ios, form['fused_attention'] = 18, True
    network = network_of(model, args.what, args.image, about, **form)
    images = read_images(args.calibrate, height, width, image=args.image) if args.calibrate else ()
    path = args.out.expanduser() / f'{name}_{args.what}_{height}x{width}_{precision}{runtime.suffix}'
    write(runtime, network, image, path, precision, images)
    if args.what in ('backbone', 'classifier'):
        show('torch', graph_of(getattr(model, 'backbone', model) if args.what == 'backbone' else model, image))
    show(args.to, runtime.operators(path))
    print(f'input: image; outputs: {few(network.outputs, 20)}')
    print(f'written to {path}' + ('' if args.checkpoint else ', with random weights'))


if __name__ == '__main__':
    main()
