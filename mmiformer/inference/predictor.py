"""A trained model ready for images, with weights that are read safely and loaded whole.

The toolboxes' own inferencers unpickle the checkpoint, let keys that do not fit pass, and need the data set.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, init_default_scope
from mmengine.structures import BaseDataElement
from PIL import Image, UnidentifiedImageError

from ..engine.building import building
from ..engine.config import datasets, kind
from ..engine.runner import load_whole, speed_up
from ..errors import UserError, few
from .painter import Color, Painter
from .sources import BrokenSource

# Where the toolboxes' models keep the part that decides on classes.
HEADS = ('bbox_head', 'roi_head.bbox_head', 'roi_head.bbox_head.0', 'mask_head', 'decode_head')


def classes_and_palette(cfg: Config, checkpoint: dict) -> tuple[list[str], list[Color]]:
    """The names and colors of a model's classes: those that its checkpoint records, else those of the config's data.

    The data itself need not be on this machine.

    Returns:
        names: One for each class.
        palette: A color (R, G, B), 0 to 255, for each class.

    Raises:
        UserError: Neither the checkpoint nor the config names classes.
    """
    meta = {key.lower(): value for key, value in (checkpoint.get('meta') or {}).items()}
    recorded = {key.lower(): value for key, value in (meta.get('dataset_meta') or meta).items()}
    dataset = next(datasets(cfg, ('test_dataloader', 'val_dataloader', 'train_dataloader')), {})
    data_set = dataset.get('type')
    if isinstance(data_set, str):
        with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
            data_set = registry.get(data_set)
    known = getattr(data_set, 'METAINFO', {})
    configured = data_set._load_metainfo(dataset.get('metainfo')) if data_set else {}

    classes = recorded.get('classes') or configured.get('classes')
    if not classes:
        raise UserError(
            'the classes have no names: the checkpoint records none, and the data sets of the config neither. '
            "Add metainfo=dict(classes=('...',)) to test_dataloader.dataset"
        )
    for source in (recorded, configured):
        if source.get('palette') and len(source['palette']) == len(classes):
            return list(classes), list(source['palette'])
    # Some classes of a known data set keep their colors.
    colors = dict(zip(known.get('classes', ()), known.get('palette', ()), strict=False))
    made_up = np.random.default_rng(0).integers(0, 256, (len(classes), 3)).tolist()
    return list(classes), [colors.get(name, color) for name, color in zip(classes, made_up, strict=True)]


class Predictor:
    """A detector or segmentor with the test pipeline of its config.

    Args:
        cfg: The config; it is not changed.
        checkpoint: A checkpoint of its model, as `read_checkpoint` gives it.
        source: Where the checkpoint is from, for errors.
        device: Where to run.
        deploy: Whether the backbone takes its deploy form.
        dtype: What the deploy form computes in; None for the data type of the weights.

    Raises:
        UserError: The config has no test pipeline for images, the device is not there, or model, checkpoint and classes
            do not fit each other.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: dict,
        source: str,
        device: str,
        deploy: bool = False,
        dtype: torch.dtype | None = None,
    ):
        cfg = cfg.copy()
        init_default_scope(cfg.default_scope)
        pipeline = next(datasets(cfg, ('test_dataloader',)), {}).get('pipeline', [])
        load = next((transform for transform in pipeline if kind(transform) == 'LoadImageFromFile'), None)
        if load is None:
            raise UserError(
                f'config {cfg.filename}: test_dataloader.dataset.pipeline has no LoadImageFromFile, so it is '
                'unknown how images are prepared for the model'
            )
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f'--device {device}: {str(error).splitlines()[0]}') from error
        self.classes, self.palette = classes_and_palette(cfg, checkpoint)
        self.painter = Painter(cfg.default_scope, self.classes, self.palette)
        cfg.model.pop('pretrained', None)  # the checkpoint has all weights
        with building(cfg, 'model', 'test_dataloader'):
            self._load = TRANSFORMS.build({**load, 'backend_args': None})  # images are on this machine
            self._prepare = Compose(
                [
                    {**transform, 'type': 'LoadImageFromNDArray'} if transform is load else transform
                    for transform in pipeline
                    if 'Annotation' not in kind(transform)
                ]
            )
            model = revert_sync_batchnorm(MODELS.build(cfg.model))
        load_whole(model, checkpoint['state_dict'], source)
        model.dataset_meta = dict(classes=self.classes, palette=self.palette)
        self._check_heads(model)
        self._model = model.to(device).eval()
        speed_up(self._model, deploy, dtype)

    def _check_heads(self, model: torch.nn.Module) -> None:
        modules = dict(model.named_modules())
        for name in HEADS:
            number = getattr(modules.get(name), 'num_classes', None)
            if number is not None and number != len(self.classes):
                raise UserError(
                    f'{name} of the model has num_classes={number}, but there are {len(self.classes)} names of classes '
                    f"({few(self.classes)}): the config's metainfo is not that of the training"
                )

    def read(self, path: Path) -> np.ndarray:
        """Read an image as the config's test pipeline does.

        Returns:
            (H, W, 3), BGR, 0 to 255.

        Raises:
            BrokenSource: It is damaged, or not an image.
        """
        try:
            # OpenCV silently fills what is missing of a JPEG that was cut off with gray.
            with Image.open(path) as file:
                file.load()
        except UnidentifiedImageError:
            pass  # perhaps of a kind that only OpenCV reads
        except Exception as error:  # decoders raise all kinds of errors
            raise BrokenSource(f'cannot be read: {error}') from error
        try:
            return self._load(dict(img_path=str(path)))['img']
        except (AssertionError, OSError, cv2.error) as error:
            raise BrokenSource('cannot be read: it is not an image') from error

    @torch.no_grad()
    def predict(self, image: np.ndarray) -> BaseDataElement:
        """Predict one image.

        Args:
            image: (H, W, 3), BGR, 0 to 255.

        Returns:
            The toolbox's sample, on the CPU, of the size of `image`: with `pred_instances` or `pred_sem_seg`.

        Raises:
            BrokenSource: The image is too large for the memory.
            UserError: The model predicts neither of the two.
        """
        batch = pseudo_collate([self._prepare(dict(img=image, img_id=0))])
        try:
            sample = self._model.test_step(batch)[0]
            sample.pop('seg_logits', None)  # a number for each class and pixel
            sample = sample.cpu()
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or 'allocate memory' in str(error):
                height, width = image.shape[:2]
                raise BrokenSource(f'is too large for the memory ({width} x {height}); scale it down first') from error
            raise
        if 'pred_instances' not in sample and 'pred_sem_seg' not in sample:
            raise UserError(
                f'the model predicts {", ".join(sample.keys())}; what can be written is instances or a semantic '
                'segmentation'
            )
        return sample
