"""Parameters and MACs of a variant, or of a config's detector or segmentor part by part.

python tools/complexity.py m
python tools/complexity.py configs/mask_rcnn/iformer_m_1x.py --size 800 1344
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

import torch

from mmiformer.benchmark.complexity import DETECTIONS, PROPOSALS, Count, count, count_parts
from mmiformer.engine.building import building
from mmiformer.engine.cli import command
from mmiformer.engine.config import import_toolbox, read_config
from mmiformer.models import ARCHS, IFormer, IFormerClassifier
from mmiformer.models.classification import Classifier


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('network', metavar='CONFIG_OR_ARCH', help=f'a config file, or one of {" ".join(ARCHS)}')
    parser.add_argument(
        '--size',
        type=int,
        nargs='+',
        default=[512],
        metavar='PIXELS',
        help='side of the image, or its height and width (default: 512)',
    )
    args = parser.parse_args()
    if len(args.size) > 2 or min(args.size) < 32:
        parser.error('--size takes one number or two, from 32 up')
    return args


def of_arch(arch: str, height: int, width: int) -> list[Count]:
    """The classification network, and the backbone as detectors and segmentors have it."""
    classifier, backbone = IFormerClassifier(arch).eval(), IFormer(arch).eval()
    return [
        count('classifier, 224 x 224, global attention', classifier, classifier, torch.zeros(1, 3, 224, 224))[0],
        count(f'backbone, {height} x {width}, windows', backbone, backbone, torch.zeros(1, 3, height, width))[0],
    ]


def of_config(path: str, height: int, width: int) -> list[Count]:
    """The parts of a detector or segmentor; a classifier as a whole."""
    cfg = read_config(path)
    import_toolbox(cfg)
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(cfg.default_scope)
    with building(cfg, 'model'):
        model = MODELS.build(cfg.model)
    if isinstance(model, Classifier):
        return [count(f'classifier, {height} x {width}', model, model.eval(), torch.zeros(1, 3, height, width))[0]]
    return [part._replace(name=f'{part.name}, {height} x {width}') for part in count_parts(model, height, width)]


@command('nothing was counted to the end')
def main() -> None:
    args = parse_args()
    height, width = args.size[0], args.size[-1]
    of = of_arch if args.network in ARCHS else of_config
    counts = of(args.network, height, width)
    widest = max(len(part.name) for part in counts)
    print(f'{"one image, height x width":{widest}}  parameters (M)   GMACs')
    for part in counts:
        print(f'{part.name:{widest}}  {part.parameters / 1e6:14.3f}  {part.macs / 1e9:6.3f}')
    print('GMACs are 1e9 multiply-accumulates of convolutions, linear layers and the two products of attention, batch')
    print(
        'norms folded. Activations, softmax, element-wise operations, pooling, interpolation and RoIAlign are not in.'
    )
    if any(part.name.startswith('box head') for part in counts):
        print(f'The box head is counted for {PROPOSALS} proposals, the mask head for {DETECTIONS} detections.')


if __name__ == '__main__':
    main()
