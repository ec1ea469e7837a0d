"""A trained model ready for images: the toolboxes' inferencers, with weights that are read safely and loaded whole."""

from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope
from mmengine.structures import BaseDataElement
from PIL import Image, UnidentifiedImageError

from ..engine.config import datasets
from ..engine.runner import load_whole
from ..engine.speed import speed_up
from .painter import Colour, Painter
from .sources import BrokenSource

INFERENCERS = dict(mmdet='DetInferencer', mmseg='MMSegInferencer')
# Where the toolboxes' models keep the part that decides on classes.
HEADS = ('bbox_head', 'roi_head.bbox_head', 'roi_head.bbox_head.0', 'mask_head', 'decode_head')


class OtherTask(ValueError):
    """The model predicts neither instances nor a semantic segmentation."""


def classes_and_palette(cfg: Config, checkpoint: dict) -> tuple[list[str], list[Colour]]:
    """The names and colours of a model's classes: those that its checkpoint records, else those of the config's data.

    The data itself need not be on this machine.

    Returns:
        names: One for each class.
        palette: A colour (R, G, B), 0 to 255, for each class.

    Raises:
        ValueError: Neither the checkpoint nor the config names classes.
    """
    meta = {key.lower(): value for key, value in (checkpoint.get('meta') or {}).items()}
    recorded = {key.lower(): value for key, value in (meta.get('dataset_meta') or meta).items()}
    dataset = next(datasets(cfg, ('test_dataloader', 'val_dataloader', 'train_dataloader')), {})
    kind = dataset.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
            kind = registry.get(kind)
    known = getattr(kind, 'METAINFO', {})
    configured = kind._load_metainfo(dataset.get('metainfo')) if kind else {}

    classes = recorded.get('classes') or configured.get('classes')
    if not classes:
        raise ValueError(
            'the classes have no names: the checkpoint records none, and the data sets of the config neither. '
            "Add metainfo=dict(classes=('...',)) to test_dataloader.dataset"
        )
    for source in (recorded, configured):
        if source.get('palette') and len(source['palette']) == len(classes):
            return list(classes), list(source['palette'])
    # Some classes of a known data set keep their colours.
    colours = dict(zip(known.get('classes', ()), known.get('palette', ()), strict=False))
    made_up = np.random.default_rng(0).integers(0, 256, (len(classes), 3)).tolist()
    return list(classes), [colours.get(name, colour) for name, colour in zip(classes, made_up, strict=True)]


class Predictor:
    """A detector or segmentor with the test pipeline of its config.

    Args:
        cfg: The config; it is not changed.
        checkpoint: A checkpoint of its model, as `read_checkpoint` gives it.
        source: Where the checkpoint is from, for errors.
        device: Where to run.
        deploy: Whether the backbone takes its deploy form.

    Raises:
        NoFastForm: It has none.
        ValueError: The config has no test pipeline for images, the device is not there, or classes and model do not
            fit.
        CheckpointMismatch: The checkpoint is of another model.
    """

    def __init__(self, cfg: Config, checkpoint: dict, source: str, device: str, deploy: bool = False):
        cfg = cfg.copy()
        init_default_scope(cfg.default_scope)
        tested = next(datasets(cfg, ('test_dataloader',)), {})
        load = [t for t in tested.get('pipeline', []) if str(t['type']).split('.')[-1] == 'LoadImageFromFile']
        if not load:
            raise ValueError(
                f'config {cfg.filename}: test_dataloader.dataset.pipeline has no LoadImageFromFile, so there is no '
                'telling how images are prepared for the model'
            )
        cfg.test_dataloader = dict(dataset=tested)
        self.classes, self.palette = classes_and_palette(cfg, checkpoint)
        self.painter = Painter(cfg.default_scope, self.classes, self.palette)
        self._load = TRANSFORMS.build({**load[0], 'backend_args': None})  # images are on this machine
        self._inferencer = _build_inferencer(cfg, checkpoint['state_dict'], source, device, self.painter, self.meta)
        self._check_heads()
        speed_up(self._inferencer.model, deploy)

    @property
    def meta(self) -> dict:
        """Classes and palette as the toolboxes' models carry them."""
        return dict(classes=self.classes, palette=self.palette)

    def _check_heads(self) -> None:
        modules = dict(self._inferencer.model.named_modules())
        for name in HEADS:
            number = getattr(modules.get(name), 'num_classes', None)
            if number is not None and number != len(self.classes):
                raise ValueError(
                    f'{name} of the model has num_classes={number}, but there are {len(self.classes)} names of classes '
                    f"({', '.join(self.classes[:3])}, ...): the config's metainfo is not that of the training"
                )

    def read(self, path: Path) -> np.ndarray:
        """Read an image as the config's test pipeline does.

        Returns:
            (H, W, 3), BGR, 0 to 255.

        Raises:
            BrokenSource: It is damaged, or no image.
        """
        try:
            # OpenCV fills what is missing of a JPEG that was cut off with grey, and says nothing.
            with Image.open(path) as file:
                file.load()
        except UnidentifiedImageError:
            pass  # perhaps of a kind that only OpenCV reads
        except Exception as error:  # decoders raise whatever they stumble upon
            raise BrokenSource(f'cannot be read: {error}') from error
        try:
            return self._load(dict(img_path=str(path)))['img']
        except (AssertionError, OSError, cv2.error) as error:
            raise BrokenSource('cannot be read: it is no image, whatever its ending says') from error

    @torch.no_grad()
    def predict(self, image: np.ndarray) -> BaseDataElement:
        """Predict one image.

        Args:
            image: (H, W, 3), BGR, 0 to 255.

        Returns:
            The toolbox's sample, on the CPU, of the size of `image`: with `pred_instances` or `pred_sem_seg`.

        Raises:
            BrokenSource: The image is too large for the memory.
            OtherTask: The model predicts neither of the two.
        """
        batch = self._inferencer.collate_fn([self._inferencer.pipeline(image)])
        try:
            sample = self._inferencer.forward(batch)[0]
            sample.pop('seg_logits', None)  # a number for each class and pixel
            sample = sample.cpu()
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or 'allocate memory' in str(error):
                height, width = image.shape[:2]
                raise BrokenSource(f'is too large for the memory ({width} x {height}); scale it down first') from error
            raise
        if 'pred_instances' not in sample and 'pred_sem_seg' not in sample:
            raise OtherTask(
                f'the model predicts {", ".join(sample.keys())}; what can be written is instances or a semantic '
                'segmentation'
            )
        return sample


def _build_inferencer(cfg: Config, state_dict: dict, source: str, device: str, painter: Painter, meta: dict):
    """The toolbox's inferencer, except for how it gets weights, names of classes and a visualiser.

    Its own way would unpickle the checkpoint, let keys that do not fit pass, build the data set for its colours, and
    open the visualiser's backends.
    """
    scope = cfg.default_scope

    class Inferencer(getattr(import_module(f'{scope}.apis'), INFERENCERS[scope])):
        def _load_weights_to_model(self, model, *_):
            load_whole(model, state_dict, source)
            model.dataset_meta = dict(meta)

        def _init_visualizer(self, cfg):
            return painter.visualizer

        def _init_collate(self, cfg):
            return pseudo_collate

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'--device {device}: {str(error).splitlines()[0]}') from error
    return Inferencer(cfg, device=device, scope=scope, show_progress=False)
