"""Figure 3 for any network with multi-head attention: how alike the heads of each layer are, on images.

python tools/head_similarity.py CONFIG CHECKPOINT photos/ --out head_similarity.png
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

import cv2
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from mmiformer.checkpoint import load
from mmiformer.engine.building import building
from mmiformer.engine.cli import add_trust, command
from mmiformer.engine.config import import_toolbox
from mmiformer.engine.runner import load_whole
from mmiformer.errors import MissingFile, UserError
from mmiformer.evaluation.heads import draw_similarity, head_similarity
from mmiformer.files import expect_file
from mmiformer.inference.sources import find_sources
from mmiformer.models.loading import state_dict_of
from mmiformer.report import save_figure

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's, R, G, B


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file whose model, or its backbone, has attention with several heads')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('images', nargs='+', help='image files, or folders of them')
    parser.add_argument('--size', type=int, default=224, metavar='PIXELS', help='side of the image (default: 224)')
    parser.add_argument(
        '--out', type=Path, default=Path('head_similarity.png'), help='the picture (default: %(default)s)'
    )
    add_trust(parser)
    args = parser.parse_args()
    if args.size < 32:
        parser.error('--size takes a number from 32 up')
    return args


def read_network(args: Namespace) -> nn.Module:
    """The backbone with its weights; a model without one as a whole."""
    if not Path(args.config).is_file():
        raise MissingFile(f'there is no config {args.config}')
    cfg = Config.fromfile(args.config)
    if cfg.get('default_scope') in ('mmdet', 'mmseg'):
        import_toolbox(cfg)
        init_default_scope(cfg.default_scope)
    with building(cfg, 'model'):
        model = MODELS.build(cfg.model)
    checkpoint = load(args.checkpoint, trust=args.trust_checkpoint)
    load_whole(model, state_dict_of(checkpoint), args.checkpoint)
    model.eval()
    return getattr(model, 'backbone', model)


def read_image(path: Path, size: int) -> Tensor:
    """A normalized image (1, 3, size, size), whatever the file's aspect is."""
    image = cv2.imread(str(path))
    if image is None:
        raise UserError(f'{path} cannot be read as an image')
    image = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), (size, size), interpolation=cv2.INTER_AREA)
    image = (torch.from_numpy(image).float() - torch.tensor(MEAN)) / torch.tensor(STD)
    return image.permute(2, 0, 1)[None]


@command('nothing was drawn')
def main() -> None:
    args = parse_args()
    sources = [source for source in find_sources(args.images) if not source.is_video]
    network = read_network(args)
    expect_file(args.out)
    images = [head_similarity(network, read_image(source.path, args.size)) for source in sources]
    layers = [torch.cat(layer) for layer in zip(*images, strict=True)]
    if not layers:
        raise UserError(f'no attention with several heads was run by {type(network).__name__} of {args.config}')
    print('layer  mean   lowest  highest')
    for depth, layer in enumerate(layers, 1):
        print(f'{depth:5}  {layer.mean():.3f}  {layer.min():.3f}   {layer.max():.3f}')
    save_figure(draw_similarity(layers, f'{type(network).__name__}, {len(images)} images'), args.out)
    print(f'The picture is {args.out}')


if __name__ == '__main__':
    main()
