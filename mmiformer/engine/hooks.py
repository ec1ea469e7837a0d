"""Hooks for any toolbox's configs."""

import mmcv
import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop

from ..errors import UserError, few
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


@HOOKS.register_module()
class StopAtBadLoss(Hook):
    """Stop a training whose loss is NaN or infinite, before it saves weights that such a loss has spoiled.

    The tools' runs have this hook: `default_hooks.bad_loss.patience=3` sets its argument.

    Args:
        patience: After how many such iterations in a row to stop.
    """

    def __init__(self, patience: int = 1):
        if patience < 1:
            raise ValueError(f'patience={patience} must be positive')
        self.patience = patience
        self._number = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Count the iterations whose loss is not finite, and name the loss and the images."""
        bad = {
            name: float(torch.as_tensor(value).detach())
            for name, value in (outputs or {}).items()
            if 'loss' in name and not torch.isfinite(torch.as_tensor(value)).all()
        }
        self._number = self._number + 1 if bad else 0
        if not bad:
            return
        images = [getattr(sample, 'img_path', '?') for sample in data_batch.get('data_samples', [])]
        message = (
            f'iteration {runner.iter + 1}: {few(f"{name}={value}" for name, value in bad.items())}, '
            f'of the images {few(images, len(images))}'
        )
        if self._number < self.patience:
            runner.logger.warning(message)
            return
        raise UserError(
            f'{message}. The run stops, and its last checkpoint stays. A lower learning rate or '
            'optim_wrapper.clip_grad.max_norm may help, and --resume goes on from there'
        )


class ValidateResumed(Hook):
    """Validate first where a run resumes: what stopped it may have stopped that validation, the last one too.

    A checkpoint is written before its validation and cannot tell whether there was one.
    """

    priority = 'LOWEST'  # what validates must be set up

    def before_train(self, runner):
        """Validate, if the checkpoint is of the end of an epoch, or of an iteration, that has a validation."""
        loop = runner.train_loop
        if not runner._resume or runner.val_loop is None or getattr(loop, 'done', 0):
            return
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        place, end = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
        loop._decide_current_val_interval()
        if place >= max(loop.val_begin, 1) and (place % loop.val_interval == 0 or place == end):
            runner.val_loop.run()
