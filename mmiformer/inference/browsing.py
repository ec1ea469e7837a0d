"""What a network is fed: batches as the dataloader and the model's preprocessor make them, turned back into images."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, set_random_seed

from ..engine.broken import check_samples, ignored_numbers
from ..engine.building import building
from ..engine.config import datasets, kind
from .painter import Painter

SPLITS = ('train', 'val')


def annotate_before_resizing(cfg: Config, loader: str) -> None:
    """Load annotations right after the image, in place, so that they go through the pipeline together with it.

    Test pipelines load them last, since results are compared with them at the size of the image file.
    """
    for dataset in datasets(cfg, (loader,)).values():
        pipeline = dataset.get('pipeline', [])
        kinds = [kind(transform) for transform in pipeline]
        if 'LoadImageFromFile' in kinds and 'LoadAnnotations' in kinds:
            annotations = pipeline.pop(kinds.index('LoadAnnotations'))
            pipeline.insert(kinds.index('LoadImageFromFile') + 1, annotations)


def draw_batches(cfg: Config, split: str, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Pictures of what the model of a config is fed, with the annotations drawn in, in the order of the dataloader.

    Args:
        cfg: The config; it is not changed.
        split: 'train' or 'val'.
        seed: Of the dataloader's order and the augmentations.

    Yields:
        The name of the image's file, without folder and suffix, and the picture, (H, W, 3), BGR, uint8: padded as in
        its batch, without its normalization.
    """
    cfg = cfg.copy()
    loader = f'{split}_dataloader'
    init_default_scope(cfg.default_scope)
    cfg[loader].update(num_workers=0, persistent_workers=False)  # in this process the seed also sets the augmentations
    if split == 'val':
        annotate_before_resizing(cfg, loader)
    set_random_seed(seed)
    settings = cfg.model.get('data_preprocessor') or dict(type='BaseDataPreprocessor')
    with building(cfg, loader, 'model'):
        batches = Runner.build_dataloader(cfg[loader], seed=seed)
        preprocessor = MODELS.build(settings)
    check_samples(batches.dataset, ignored_numbers(cfg))
    painter = Painter(cfg.default_scope, *names_and_colors(batches.dataset.metainfo))
    for batch in batches:
        fed = preprocessor(batch, training=split == 'train')
        for image, sample in zip(fed['inputs'], fed['data_samples'], strict=True):
            picture = to_image(image, preprocessor, rgb=settings.get('bgr_to_rgb', False))
            yield Path(sample.img_path).stem, painter.annotations(picture, sample)


def to_image(fed: torch.Tensor, preprocessor: torch.nn.Module, rgb: bool) -> np.ndarray:
    """Undo the normalization.

    Args:
        fed: (3, H, W), as the network gets it.
        preprocessor: What made it, one of MMEngine's `ImgDataPreprocessor`s.
        rgb: Whether `fed` is in RGB, not in BGR.

    Returns:
        (H, W, 3), BGR, uint8.
    """
    if getattr(preprocessor, '_enable_normalize', False):
        fed = fed * preprocessor.std + preprocessor.mean
    image = fed.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()  # (3, H, W) -> (H, W, 3)
    return image[..., ::-1] if rgb else image


def names_and_colors(meta: dict) -> tuple[list[str], list]:
    """Classes and palette of a data set; colors are made up where it has too few."""
    classes, palette = meta['classes'], meta.get('palette') or ()
    if len(palette) < len(classes):
        palette = np.random.default_rng(0).integers(0, 256, (len(classes), 3)).tolist()
    return list(classes), list(palette)
