"""Top-1 and top-5 accuracy of weights on ImageNet's validation images, beside what was published.

python tools/check_imagenet.py iFormer_m_distill.pth /data/imagenet/val

The folder has one folder of images for each class, in the order of their names: n01440764, n01443537, ... for ImageNet.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

import torch
from rich.progress import track
from torch.utils.data import DataLoader

from mmiformer.benchmark.timing import positive
from mmiformer.datasets.imagenet import ImageFolder
from mmiformer.engine.cli import add_trust, command
from mmiformer.errors import UserError
from mmiformer.evaluation.tables import write_json
from mmiformer.files import expect_file
from mmiformer.models.classifier import IFormerClassifier, load_classifier
from mmiformer.published import PUBLISHED


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('weights', help='a file of any layout, a URL, or the name of a published file')
    parser.add_argument('images', metavar='IMAGENET_VAL', type=Path, help='the folder of the validation images')
    parser.add_argument('--batch-size', type=positive, default=64, help='default: %(default)s')
    parser.add_argument('--workers', type=int, default=4, help='processes that read images (default: %(default)s)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='default: %(default)s')
    parser.add_argument('--out', metavar='FILE', type=Path, help='write the figures as JSON')
    add_trust(parser)
    args = parser.parse_args()
    if not 0 <= args.workers <= 1000:
        parser.error('--workers takes a number from 0 to 1000')
    return args


@torch.no_grad()
def accuracy(classifier: IFormerClassifier, loader: DataLoader, device: str) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent."""
    classifier.to(device)
    hits = torch.zeros(2, dtype=torch.int64)
    for images, labels in track(loader, 'evaluating'):
        logits = classifier(images.to(device)).cpu()
        ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]  # (B, 5)
        hits += torch.stack([ranked[:, 0].sum(), ranked.any(1).sum()])
    return dict(zip(('top1', 'top5'), (100 * hits / len(loader.dataset)).tolist(), strict=True))


@command('nothing was written')
def main() -> None:
    args = parse_args()
    if args.out:
        expect_file(args.out)
    try:
        torch.empty(0, device=args.device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f'--device {args.device}: {str(error).splitlines()[0]}') from error
    classifier = load_classifier(args.weights, args.trust_checkpoint)
    images = ImageFolder(args.images, classifier.head.fc.out_features)
    loader = DataLoader(images, args.batch_size, num_workers=args.workers)
    measured = accuracy(classifier, loader, args.device)
    published = PUBLISHED.get(Path(args.weights).name)
    result = published.result if published else {}
    print(f'{args.weights} on {len(images)} images, % (measured, published)')
    for name, value in measured.items():
        print(f'{name}  {value:6.2f}  {result.get(name, "-"):>6}')
    if args.out:
        write_json(args.out, dict(weights=args.weights, images=len(images), measured=measured, published=result))


if __name__ == '__main__':
    main()
