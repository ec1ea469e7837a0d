"""The checkpoints of a run: saved so that there is always a whole one, and the last whole one found."""

from __future__ import annotations

import difflib
import inspect
import logging
import re
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ..checkpoint import archive_damage
from ..errors import UserError, few
from ..files import whole_file

logger = logging.getLogger(__name__)

INTERRUPTED = 'interrupted.pth'  # saved when a run is told to stop; the next regular checkpoint replaces it
RECORD = 'last_checkpoint'  # MMEngine's: the path of the checkpoint written last
VALIDATED = 'validated'  # key of the message hub: the iteration after which the last validation was complete


class WholeCheckpointHook(CheckpointHook):
    """MMEngine's hook, which removes an old checkpoint only once the new one is complete, and saves no NaN.

    :class:`~mmiformer.engine.runner.WholeRunner` uses it in place of MMEngine's, and writes each file whole.
    """

    _saved_iteration: int | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # MMEngine hands them on when it saves the first checkpoint.
        if unknown := self.args.keys() - inspect.signature(Runner.save_checkpoint).parameters.keys():
            near = difflib.get_close_matches(unknown := min(unknown), inspect.signature(CheckpointHook).parameters, n=1)
            raise TypeError(f'{unknown} is no argument of it' + (f'; did you mean {near[0]}?' if near else ''))

    def before_train(self, runner) -> None:
        super().before_train(runner)
        if self.save_best:  # a new one removes it: in this folder, where a checkpoint of another run may name any
            if len(self.key_indicators) == 1:
                self.best_ckpt_path = self._here(self.best_ckpt_path)
            else:
                self.best_ckpt_path_dict = {key: self._here(path) for key, path in self.best_ckpt_path_dict.items()}
        self.file_backend = _RemovesLater(self.file_backend)
        if is_main_process() and Path(self.out_dir).is_dir():
            for part in Path(self.out_dir).glob('.*.part.pth'):  # of a run that was killed while it wrote
                part.unlink()

    def _here(self, path: str | None) -> str | None:
        return path and self.file_backend.join_path(self.out_dir, Path(path).name)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        check_weights(runner, meta['iter'])
        super()._save_checkpoint_with_step(runner, step, meta)
        self._saved_iteration = meta['iter']
        if is_main_process():
            interrupted = self.file_backend.join_path(self.out_dir, INTERRUPTED)
            if self.file_backend.isfile(interrupted):
                self.file_backend.remove(interrupted)
            self.file_backend.remove_now()

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        runner.message_hub.update_info(VALIDATED, runner.iter)  # MMEngine writes the last checkpoint once more
        super()._save_best_checkpoint(runner, metrics)
        self.file_backend.remove_now()

    def save_interrupted(self, runner, iteration: int) -> None:
        """Save what a stopped run resumes from, unless it has just been saved.

        Args:
            runner: The runner.
            iteration: How many iterations are done.
        """
        if self._saved_iteration == iteration:
            return
        check_weights(runner, iteration)
        runner.save_checkpoint(
            self.out_dir,
            INTERRUPTED,
            self.file_client_args,
            meta=dict(epoch=runner.epoch, iter=iteration),
            by_epoch=False,
            backend_args=self.backend_args,
        )
        if is_main_process():
            with whole_file(Path(runner.work_dir, RECORD)) as part:
                part.write_text(self.file_backend.join_path(self.out_dir, INTERRUPTED))


class _RemovesLater:
    """A file backend of MMEngine's whose removals wait for `remove_now`."""

    def __init__(self, backend: Any):
        self._backend = backend
        self._waiting: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._waiting.append((path, _inode(path)))

    def remove_now(self) -> None:
        for path, inode in self._waiting:
            if _inode(path) == inode:  # else a new checkpoint has taken its place
                self._backend.remove(path)
        self._waiting.clear()


def _inode(path: str) -> int:
    return Path(path).stat().st_ino if Path(path).exists() else 0


def pending_gradients(wrapper: Any, model: nn.Module) -> dict[str, Tensor]:
    """Gradients that are accumulated and wait for the iterations to come, without which a resumed run would differ.

    Args:
        wrapper: The optimizer's wrapper.
        model: The model. Where there are several processes, all of them call this.

    Returns:
        {name of the parameter: gradient, the mean over the processes}; empty where none waits.
    """
    if not isinstance(wrapper, OptimWrapper) or wrapper.should_update():
        return {}
    found = {}
    for name, parameter in _plain(model).named_parameters():
        if parameter.grad is not None:
            found[name] = parameter.grad.detach().clone()
            all_reduce(found[name], 'mean')
            found[name] = found[name].cpu()
    return found


def restore_gradients(wrapper: Any, model: nn.Module, gradients: dict[str, Tensor], iteration: int) -> None:
    """Let a resumed run go on accumulating, unless it accumulates no more.

    Args:
        wrapper: The optimizer's wrapper.
        model: The model.
        gradients: What :func:`pending_gradients` returned.
        iteration: How many iterations are done.

    Raises:
        UserError: They are not those of the model.
    """
    if not isinstance(wrapper, OptimWrapper) or not iteration % wrapper._accumulative_counts:
        return
    try:
        for name, parameter in _plain(model).named_parameters():
            if name in gradients:
                parameter.grad = gradients[name].to(parameter, copy=True)
    except (AttributeError, RuntimeError, TypeError) as error:
        raise UserError(f'--resume: the checkpoint is damaged: its gradients do not fit the model ({error})') from error


def _plain(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def check_weights(runner, iteration: int) -> None:
    """Check that the weights are worth saving.

    Args:
        runner: The runner.
        iteration: How many iterations are done.

    Raises:
        UserError: A weight is NaN or infinite, or a batch norm's statistic, or a gradient that waits for others.
    """
    values = dict(runner.model.named_parameters())
    if type(runner.optim_wrapper) is OptimWrapper and not runner.optim_wrapper.should_update():  # AMP's may be infinite
        values |= {f'gradient of {name}': value.grad for name, value in values.items() if value.grad is not None}
    values |= {name: value for name, value in runner.model.named_buffers() if 'running_' in name}
    broken = [name for name, value in values.items() if not torch.isfinite(value).all()]
    if broken:
        raise UserError(
            f'{len(broken)} weights are NaN or infinite after iteration {iteration} ({few(broken)}), so they are '
            f'not saved. The last good checkpoint is in {runner.work_dir}. A lower learning rate may help'
        )


def last_whole_checkpoint(work_dir: Path) -> Path | None:
    """The checkpoint of a run that was written last, or the last before it that is whole.

    Args:
        work_dir: The run's directory.

    Returns:
        The file, or None if there is no checkpoint at all.

    Raises:
        UserError: None is whole.
    """
    damaged = []
    for path in _newest_first(work_dir):
        if reason := archive_damage(path):
            damaged.append(path)
            logger.warning(f'--resume: {path} is damaged ({reason}) and left out.')
        else:
            return path
    if damaged:
        raise UserError(f'--resume: no checkpoint in {work_dir} is whole ({few(damaged)}); remove them to start again')
    return None


def _newest_first(work_dir: Path) -> list[Path]:
    """The recorded checkpoint, then those before it: a run that began again at an earlier one may have later ones."""
    record = work_dir / RECORD
    recorded = Path(record.read_text(errors='replace').strip()) if record.is_file() else Path()
    if recorded.name and recorded.suffix != '.pth':  # a power cut leaves zeros
        logger.warning(f'--resume: {record} is damaged and left out.')
        recorded = Path()
    folders = {work_dir: None, recorded.parent: None} if recorded.name else {work_dir: None}
    paths = [path for folder in folders for path in folder.glob('*.pth') if _number(path) is not None]
    paths.sort(key=_number, reverse=True)
    # The record is an absolute path; the run may have been moved since.
    last = next((path for path in (work_dir / recorded.name, recorded) if recorded.name and path.is_file()), None)
    if recorded.name and not last:
        logger.warning(f'--resume: {record} names {recorded}, which is not there.')
    limit = _number(recorded) if recorded.name else None
    earlier = [path for path in paths if path != last and (limit is None or _number(path) < limit)]
    return ([last] if last else []) + earlier


def _number(path: Path) -> float | None:
    """What the regular checkpoints of a run are ordered by; None for other files, such as the best checkpoint."""
    if path.name == INTERRUPTED:
        return float('inf')
    name = re.fullmatch(r'(?:epoch|iter)_(\d+)\.pth', path.name)
    return int(name[1]) if name else None
