"""Top-1 and top-5 accuracy of weights on ImageNet's validation images, beside what was published.

python tools/check_imagenet.py iFormer_m_distill.pth /data/imagenet/val

The folder has one folder of images for each class, in the order of their names: n01440764, n01443537, ... for ImageNet.
"""

import json
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

import numpy as np
import torch
from mmengine.utils import track_iter_progress
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmiformer import checkpoint
from mmiformer.engine.cli import USER_ERRORS, plain_errors
from mmiformer.models.classifier import IFormerClassifier
from mmiformer.models.weights import convert, find_arch, state_dict_of

SIZE, RESIZED = 224, 256  # published: the shorter side to 224 / 0.875, then the middle
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SUFFIXES = ('.jpg', '.jpeg', '.png')


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('weights', help='a file of any layout, a URL, or the name of a published file')
    parser.add_argument('images', metavar='IMAGENET_VAL', type=Path, help='the folder of the validation images')
    parser.add_argument('--batch-size', type=int, default=64, help='default: %(default)s')
    parser.add_argument('--workers', type=int, default=4, help='processes that read images (default: %(default)s)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='default: %(default)s')
    parser.add_argument('--out', metavar='FILE', type=Path, help='write the figures as JSON')
    parser.add_argument('--trust-checkpoint', action='store_true', help='unpickle whatever the weight file holds')
    return parser.parse_args()


def prepare(image: Image.Image) -> Tensor:
    """Resize bicubically, crop the middle and normalise an image, to (3, 224, 224)."""
    image = image.convert('RGB')
    shorter = min(image.size)
    image = image.resize([RESIZED * side // shorter for side in image.size], Image.Resampling.BICUBIC)
    left, top = (round((side - SIZE) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + SIZE, top + SIZE)), np.float32) / 255
    return torch.from_numpy((pixels - np.float32(MEAN)) / np.float32(STD)).permute(2, 0, 1)


class ImageFolder(Dataset):
    """The images of a folder with one folder for each class.

    Args:
        root: The folder.
        num_classes: How many classes there must be.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There are more or fewer classes, or one has no images.
    """

    def __init__(self, root: Path, num_classes: int):
        if not root.is_dir():
            raise FileNotFoundError(f'there is no folder {root}; it should hold the validation images of ImageNet')
        folders = sorted(path for path in root.iterdir() if path.is_dir())
        if len(folders) != num_classes:
            raise ValueError(
                f'{root} has {len(folders)} folders, the weights know {num_classes} classes. Each class needs a folder '
                'of its images; the ILSVRC 2012 archive of validation images comes flat and must be sorted first'
            )
        self.samples = [
            (path, label)
            for label, folder in enumerate(folders)
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in SUFFIXES
        ]
        empty = [folders[label].name for label in set(range(num_classes)) - {label for _, label in self.samples}]
        if empty:
            raise ValueError(f'{root}: no images ({", ".join(SUFFIXES)}) in {len(empty)} folders, such as {empty[0]}')

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.samples[index]
        try:
            with Image.open(path) as image:
                return prepare(image), label
        except OSError as error:
            raise ValueError(f'{path} cannot be read as an image: {error}') from error


def load_classifier(source: str, trust: bool) -> IFormerClassifier:
    """The network that a weight file is of, with its weights."""
    state_dict = convert(state_dict_of(checkpoint.load(source, trust=trust)), 'mmiformer')
    if 'head.fc.weight' not in state_dict:
        raise ValueError(f'{source} holds no classifier, only {len(state_dict)} tensors without a head')
    backbone = {key.removeprefix('backbone.'): tensor for key, tensor in state_dict.items()}
    classifier = IFormerClassifier(
        find_arch(backbone), len(state_dict['head.fc.weight']), distillation='head_dist.fc.weight' in state_dict
    )
    classifier.load_state_dict(state_dict)
    return classifier.eval()


@torch.no_grad()
def accuracy(classifier: IFormerClassifier, loader: DataLoader, device: str) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent."""
    classifier.to(device)
    hits = torch.zeros(2, dtype=torch.int64)
    for images, labels in track_iter_progress((loader, len(loader))):
        logits = classifier(images.to(device)).cpu()
        ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]  # (B, 5)
        hits += torch.stack([ranked[:, 0].sum(), ranked.any(1).sum()])
    print()
    return dict(zip(('top1', 'top5'), (100 * hits / len(loader.dataset)).tolist(), strict=True))


def main() -> None:
    args = parse_args()
    with plain_errors(*USER_ERRORS):
        classifier = load_classifier(args.weights, args.trust_checkpoint)
        images = ImageFolder(args.images, classifier.head.fc.out_features)
        loader = DataLoader(images, args.batch_size, num_workers=args.workers)
        measured = accuracy(classifier, loader, args.device)
    published = checkpoint.PUBLISHED.get(Path(args.weights).name)
    result = published.result if published else {}
    print(f'{args.weights} on {len(images)} images, % (measured, published)')
    for name, value in measured.items():
        print(f'{name}  {value:6.2f}  {result.get(name, "-"):>6}')
    if args.out:
        args.out.write_text(
            json.dumps(dict(weights=args.weights, images=len(images), measured=measured, published=result))
        )


if __name__ == '__main__':
    main()
