"""A trained model ready for images, with weights that are read safely and loaded whole.

The toolboxes' own inferencers unpickle the checkpoint, let keys that do not fit pass, and need the data set.
"""

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import BaseDataElement

from ..checks.classes import recorded_meta
from ..engine.building import building, reason
from ..engine.config import LOADERS, datasets, kind
from ..engine.runner import load_whole, speed_up
from ..errors import UserError
from .images import Reader
from .painter import Color, Painter
from .sources import BrokenSource


def classes_and_palette(cfg: Config, checkpoint: dict) -> tuple[list[str], list[Color]]:
    """The names and colors of a model's classes: those that its checkpoint records, else those of the config's data.

    The data itself need not be on this machine.

    Returns:
        names: One for each class.
        palette: A color (R, G, B), 0 to 255, for each class.

    Raises:
        UserError: Neither the checkpoint nor the config names classes.
    """
    recorded = recorded_meta(checkpoint)
    dataset = next(iter(datasets(cfg, LOADERS[::-1]).values()), {})
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
        pipeline = next(iter(datasets(cfg, ('test_dataloader',)).values()), {}).get('pipeline', [])
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
        self._painter = Painter(cfg.default_scope, self.classes, self.palette)
        cfg.model.pop('pretrained', None)  # the checkpoint has all weights
        with building(cfg, 'model', 'test_dataloader'):
            self.reader = Reader(load)
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
        self._model = model.to(device).eval()
        speed_up(self._model, deploy, dtype)

    @torch.no_grad()
    def predict(self, image: np.ndarray) -> BaseDataElement:
        """Predict one image.

        Args:
            image: (H, W, 3), BGR, or (H, W), as the reader gives it.

        Returns:
            The toolbox's sample, on the CPU, of the size of `image`: with `pred_instances` or `pred_sem_seg`.

        Raises:
            BrokenSource: The image is too large for the memory, or of a shape that the pipeline or the model rejects.
            UserError: The model predicts neither of the two.
        """
        height, width = image.shape[:2]
        try:
            sample = self._model.test_step(pseudo_collate([self._prepare(dict(img=image, img_id=0))]))[0]
            sample.pop('seg_logits', None)  # a number for each class and pixel
            sample = sample.cpu()
        except Exception as error:  # resized to nothing, for example
            if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or 'allocate memory' in str(error):
                raise BrokenSource(f'is too large for the memory ({width} x {height}); scale it down first') from error
            raise BrokenSource(f'({width} x {height}) cannot be predicted: {_first_line(error)}') from error
        if 'pred_instances' not in sample and 'pred_sem_seg' not in sample:
            raise UserError(
                f'the model predicts {", ".join(sample.keys())}; what can be written is instances or a semantic '
                'segmentation'
            )
        return sample

    def draw(self, image: np.ndarray, sample: BaseDataElement, score_thr: float) -> np.ndarray:
        """Draw a prediction, as :meth:`Painter.predictions` does.

        Raises:
            BrokenSource: The image has a shape that cannot be drawn on.
        """
        try:
            return self._painter.predictions(image, sample, score_thr)
        except Exception as error:
            raise BrokenSource(
                f'({image.shape[1]} x {image.shape[0]}) cannot be drawn on: {_first_line(error)}'
            ) from error


def _first_line(error: Exception) -> str:
    return reason(error).strip().splitlines()[0]
