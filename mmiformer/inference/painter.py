"""Drawing predictions and annotations with the toolboxes' visualizers."""

import warnings
from collections.abc import Sequence

import numpy as np
from mmengine.structures import BaseDataElement, InstanceData

Color = Sequence[int]


class Painter:
    """Draws on images in BGR, as OpenCV reads and writes them, where the visualizers want and give RGB.

    Args:
        scope: The toolbox, 'mmdet' or 'mmseg'.
        classes: Names.
        palette: A color (R, G, B), 0 to 255, for each class.
    """

    def __init__(self, scope: str, classes: Sequence[str], palette: Sequence[Color]):
        self.detects = scope == 'mmdet'
        # No backends: nothing is written or sent anywhere unless the tools do it.
        self.visualizer = (_detection_visualizer if self.detects else _segmentation_visualizer)()
        # A tuple would be taken for one color.
        self.visualizer.dataset_meta = dict(classes=list(classes), palette=[tuple(color) for color in palette])

    def predictions(self, image: np.ndarray, sample: BaseDataElement, score_thr: float) -> np.ndarray:
        """Draw a prediction: boxes and masks from a score on, or the segmentation.

        Args:
            image: (H, W, 3), BGR, or gray, (H, W) or (H, W, 1).
            sample: What the model returns.
            score_thr: The score, 0 to 1, above which a detection is drawn.

        Returns:
            (H, W, 3), BGR, uint8.
        """
        return self._draw(image, sample, draw_gt=False, **(dict(pred_score_thr=score_thr) if self.detects else {}))

    def annotations(self, image: np.ndarray, sample: BaseDataElement) -> np.ndarray:
        """Draw the annotations of a sample; arguments and result as for :meth:`predictions`."""
        truth = sample.get('gt_instances')
        if truth is not None and 'masks' in truth:  # in case they are not padded with the image
            fields = {**dict(truth.items()), 'masks': truth.masks.pad(image.shape[:2])}
            sample = sample.new()
            sample.gt_instances = InstanceData(**fields)
        return self._draw(image, sample, draw_pred=False)

    def _draw(self, image: np.ndarray, sample: BaseDataElement, **options) -> np.ndarray:
        # mmdet jitters the colors of masks by NumPy's global generator: here the same from run to run.
        state = np.random.get_state()
        np.random.seed(0)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings('ignore', '.* is out of bounds')  # boxes that end where the image ends
                self.visualizer.add_datasample('picture', _to_rgb(image), sample, **options)
        finally:
            np.random.set_state(state)
        return np.ascontiguousarray(self.visualizer.get_image()[..., ::-1])


def _to_rgb(image: np.ndarray) -> np.ndarray:
    """(H, W, 3), 0 to 255; what has higher values, and is not of 8 bits, is scaled down."""
    if image.ndim == 2 or image.shape[-1] == 1:
        image = np.dstack([image] * 3)
    if (highest := image.max()) > 255:
        image = image * (255 / highest)
    return np.ascontiguousarray(image[..., 2::-1])


def _detection_visualizer():
    from mmdet.visualization import DetLocalVisualizer

    return DetLocalVisualizer(alpha=0.6)


def _segmentation_visualizer():
    from mmseg.visualization import SegLocalVisualizer

    class Visualizer(SegLocalVisualizer):
        def _get_center_loc(self, mask):
            """The same pixel, the middle one of the fullest row, without sorting all pixels in Python."""
            row = mask.sum(1).argmax()
            columns = np.flatnonzero(mask[row])
            return np.array([columns[len(columns) // 2], row])

    return Visualizer(alpha=0.6)
