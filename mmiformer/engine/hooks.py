"""Hooks for any toolbox's configs."""

import mmcv
from mmengine.hooks import Hook

from ..registry import HOOKS


@HOOKS.register_module()
class ValidationPictures(Hook):
    """Draw ground truth and prediction of the same few validation images, spread evenly, at each evaluation.

    The toolboxes' own hooks draw every n-th image, counted from the iteration of the training: more pictures for a
    larger data set, and others each time.

    Args:
        number: How many pictures to draw.
        score_thr: Score from which a detection is drawn.
    """

    priority = 'LOW'

    def __init__(self, number: int, score_thr: float = 0.3):
        if number < 1:
            raise ValueError(f'number={number} of validation pictures must be positive')
        self.number = number
        self.score_thr = score_thr

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Draw the first image of the batch if it is one of those chosen."""
        batches = len(runner.val_dataloader)
        number = min(self.number, batches)
        if batch_idx not in {batches * k // number for k in range(number)}:
            return
        sample = outputs[0]
        options = dict(pred_score_thr=self.score_thr) if 'pred_instances' in sample else {}
        runner.visualizer.add_datasample(
            f'val_{batch_idx}',
            mmcv.imread(sample.img_path, channel_order='rgb'),
            data_sample=sample,
            step=runner.iter,
            **options,
        )
