"""Hooks for any toolbox's configs."""

import mmcv
import torch
from mmengine.dist import all_gather_object, is_distributed
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop

from ..errors import UserError, few
from ..registry import HOOKS
from .broken import LIMIT, innermost
from .loops import EpochLoop, IterLoop
from .saving import VALIDATED

EXCHANGE = 50  # iterations after which processes tell each other of broken samples


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
            mmcv.imread(sample.img_path, _color_type(runner.val_dataloader.dataset), channel_order='rgb'),
            data_sample=sample,
            step=runner.iter,
            **options,
        )


def _color_type(dataset) -> str:
    """How to read an image so that it lies as the pipeline reads it."""
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    upright = any(getattr(transform, 'color_type', '') == 'color_ignore_orientation' for transform in transforms)
    return 'color_ignore_orientation' if upright else 'color'


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


@HOOKS.register_module()
class BrokenData(Hook):
    """Count the broken samples of a training, name each once, and stop where there are too many.

    The tools' runs have this hook: `default_hooks.broken_data.limit=0.05` sets its argument, and
    `default_hooks.broken_data=None` lets the toolbox do what it does.

    Args:
        limit: The largest share of broken samples in the training data with which a run goes on.
        skip_in_evaluation: Whether validation and testing leave broken samples out. Else they are an error, since the
            figures would be of other data.

    Attributes:
        replaced: What is wrong with each of the training's samples that were replaced, or lack annotations, as keys.
        left_out: And with those that evaluations left out.
    """

    def __init__(self, limit: float = LIMIT, skip_in_evaluation: bool = False):
        if not 0 <= limit <= 1:
            raise ValueError(f'limit={limit} is a share of the training data, so from 0 to 1')
        self.limit, self.skip_in_evaluation = limit, skip_in_evaluation
        self.replaced: dict[str, None] = {}
        self.left_out: set[str] = set()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Take in what this process has met; several processes exchange it now and then."""
        if not is_distributed() or self.every_n_train_iters(runner, EXCHANGE):
            self._count(runner)

    def after_train(self, runner):
        """Take in the rest."""
        self._count(runner)

    def _count(self, runner):
        if not isinstance(runner.train_loop, (EpochLoop, IterLoop)):
            return  # a loop of the user's own
        met = runner.train_loop.broken
        if is_distributed():
            met = [text for texts in all_gather_object(list(met)) for text in texts]
        new = [text for text in dict.fromkeys(met) if text not in self.replaced]
        runner.train_loop.broken.clear()
        self.replaced.update(dict.fromkeys(new))
        dataset = runner.train_loop.dataloader.dataset
        total = sum(map(len, innermost(dataset))) or len(dataset)  # wrappers may repeat what they have
        for text in new:
            runner.logger.warning(f'broken and left out, {len(self.replaced)} of {total} samples so far: {text}')
        if new and len(self.replaced) > self.limit * total:
            raise UserError(
                f'{len(self.replaced)} of {total} samples of the training data are broken, more than '
                f'default_hooks.broken_data.limit={self.limit:g} allows: {few(self.replaced)}. '
                'tools/check_data.py lists all of them. Restore or remove them, or raise the limit'
            )


class ValidateResumed(Hook):
    """Validate first where a run resumes: what stopped it may have stopped that validation, the last one too.

    A checkpoint is written before its validation, and can tell that there was one only if it was written once more.
    """

    priority = 'LOWEST'  # what validates must be set up

    def before_train(self, runner):
        """Validate, if the checkpoint is of the end of an epoch, or of an iteration, that has a validation."""
        loop = runner.train_loop
        if not runner._resume or runner.val_loop is None or getattr(loop, 'done', 0):
            return
        if runner.message_hub.runtime_info.get(VALIDATED) == runner.iter:
            return
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        place, end = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
        loop._decide_current_val_interval()
        if place >= max(loop.val_begin, 1) and (place % loop.val_interval == 0 or place == end):
            runner.val_loop.run()
