"""MMEngine's Runner, except that a checkpoint that is to be tested or resumed is loaded whole or not at all."""

import contextlib
import copy
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process, master_only
from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, CheckpointLoader, Runner
from torch import Tensor, nn

from ..errors import UserError, few
from ..files import whole_file
from ..models.compiling import compile_backbones
from ..models.cpu import has_bf16
from ..models.deploy import switch_to_deploy
from . import schedule
from .broken import check_samples, ignored_numbers, leave_out_broken
from .building import building, reason
from .config import RUNNER_ARGUMENTS, kind
from .hooks import BrokenData, StopAtBadLoss, ValidateResumed
from .loops import EpochLoop, end_workers, resumable
from .notes import log_notes
from .saving import WholeCheckpointHook, pending_gradients, restore_gradients
from .stopping import StopHook, StopSignals

logger = logging.getLogger(__name__)


def load_whole(model: nn.Module, state_dict: dict[str, Tensor], source: str) -> None:
    """Load weights into a model, all of them.

    Args:
        model: The detector or segmentor.
        state_dict: {key: tensor}.
        source: Where it comes from, for the error.

    Raises:
        UserError: A key of the model is missing, or the model has no place for one, or shapes differ.
    """
    state_dict = {key.removeprefix('module.'): value for key, value in state_dict.items()}
    try:
        missing, unexpected = model.load_state_dict(state_dict, strict=False)
    except (RuntimeError, ValueError) as error:  # shapes, or weights of a backbone that are not its own
        lines = [line.strip() for line in str(error).splitlines()]
        why = ' '.join(lines[:4]) + (f' ... and {len(lines) - 4} more' if lines[4:] else '')
        raise UserError(f'{source} does not fit the model of this config: {why}') from error
    # Batch counters are not weights, and old checkpoints have none.
    missing = [key for key in missing if not key.endswith('num_batches_tracked')]
    faults = [
        f'{len(keys)} keys {what}: {few(keys)}'
        for keys, what in ((missing, 'of the model are missing'), (unexpected, 'have no place in the model'))
        if keys
    ]
    if faults:
        raise UserError(
            f'{source} does not fit the model of this config ({type(model).__name__}). {"; ".join(faults)}. '
            'Was it trained with another config?'
        )


def speed_up(model: nn.Module, deploy: bool = False, dtype: torch.dtype | None = None, compile: bool = False) -> None:
    """Bring the backbone into a faster form, in place; for the deploy form its weights must have been loaded.

    Args:
        model: A detector or segmentor.
        deploy: Whether into its deploy form.
        dtype: What the deploy form computes in; None for the data type of the weights.
        compile: Whether torch is to compile it.

    Raises:
        UserError: The model has no backbone with that form, or one whose layers cannot be folded.
    """
    try:
        if deploy and not switch_to_deploy(model, dtype):
            raise ValueError('no module of the model has a switch_to_deploy()')
    except ValueError as error:
        raise UserError(f'--deploy: {error}') from error
    if dtype is torch.bfloat16 and next(model.parameters()).device.type == 'cpu' and not has_bf16():
        logger.warning('--dtype bf16: this processor has no bfloat16 arithmetic, so it is slower than fp32.')
    if compile and not compile_backbones(model):
        raise UserError('--compile: the model has no IFormer, whose parts could be compiled')


_IN_EVALUATION = (
    'A result without it would be of other data. Restore it, or leave out what is broken with '
    '--cfg-options default_hooks.broken_data.skip_in_evaluation=True'
)


def _raise(record: logging.LogRecord) -> None:
    """Stop where the log cannot be written; Python would print a traceback for each of its lines, and go on."""
    raise  # the error of the handler that calls this


@contextlib.contextmanager
def _taking_over(source: str) -> Iterator[None]:
    """Turn an error from what a checkpoint holds, which may be anything, into one that names the file."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f'{source} is damaged, or does not fit this config: {reason(error)}') from error


def _naming(method: Callable, *keys: str) -> Callable:
    """A method of Runner whose errors name the part of the config that it builds."""

    @functools.wraps(method)
    def build(self, *args, **kwargs):
        with building(self.cfg, *keys):
            return method(self, *args, **kwargs)

    return build


class WholeRunner(Runner):
    """MMEngine's Runner for a config, with strict loading and errors that name the config's keys.

    `cfg.load_from` without `checkpoint` starts from weights for another task, as ever: what does not fit is left out.

    Args:
        cfg: The config; it is not changed.
        checkpoint: The content of `cfg.load_from`, to be tested or resumed from, which must fit.
        deploy: Whether the backbone takes its deploy form when the checkpoint has been loaded.
        dtype: What the deploy form computes in; None for the data type of the weights.
        compile: Whether torch is to compile the backbone.
        replace: Called with the model when the checkpoint has been loaded, to put other parts in.

    Raises:
        UserError: Something that the config names cannot be built.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: dict | None = None,
        deploy: bool = False,
        dtype: torch.dtype | None = None,
        compile: bool = False,
        replace: Callable[[nn.Module], None] | None = None,
    ):
        self._checkpoint, self._deploy, self._dtype, self._compile = checkpoint, deploy, dtype, compile
        self._signals = StopSignals()
        self._replace = replace
        cfg = copy.deepcopy(cfg)
        with building(cfg, 'config'):
            super().__init__(**{name: cfg[name] for name in RUNNER_ARGUMENTS if name in cfg}, cfg=cfg)
        if not deploy:
            speed_up(self.model, compile=compile)

    build_log_processor = _naming(Runner.build_log_processor, 'log_processor')
    build_model = _naming(Runner.build_model, 'model')
    build_param_scheduler = _naming(Runner.build_param_scheduler, 'param_scheduler')
    scale_lr = _naming(Runner.scale_lr, 'auto_scale_lr')
    register_hooks = _naming(Runner.register_hooks, 'custom_hooks', 'default_hooks')

    def build_optim_wrapper(self, optim_wrapper):
        with building(self.cfg, 'optim_wrapper'):
            built = super().build_optim_wrapper(optim_wrapper)
            if clipping := getattr(built, 'clip_grad_kwargs', None):  # else the first iteration would find it out
                weight = nn.Parameter(torch.zeros(1))
                weight.grad = torch.zeros(1)
                built.clip_func([weight], **clipping)
        return built

    def build_train_loop(self, loop):
        with building(self.cfg, 'train_dataloader', 'train_cfg'):
            return super().build_train_loop(resumable(loop) if isinstance(loop, dict) else loop)

    @property
    def broken_data(self) -> BrokenData | None:
        """The hook that says what becomes of broken data."""
        return next((hook for hook in self.hooks if isinstance(hook, BrokenData)), None)

    @property
    def number_of_broken(self) -> int:
        """How many broken samples have been replaced or left out."""
        hook = self.broken_data
        return len(hook.replaced) + len(hook.left_out) if hook else 0

    def build_val_loop(self, loop):
        return self._build_evaluation('val', super().build_val_loop, loop)

    def build_test_loop(self, loop):
        return self._build_evaluation('test', super().build_test_loop, loop)

    def _build_evaluation(self, split: str, build: Callable, loop: BaseLoop | dict) -> BaseLoop:
        loader = f'{split}_dataloader'
        with building(self.cfg, loader, f'{split}_evaluator', f'{split}_cfg'):
            built = build(loop)
            if self._leaves_out_broken(built):
                setattr(self, f'_{loader}', {**self.cfg[loader], 'dataset': built.dataloader.dataset})
                built = self._of_these(build(loop))
            return built

    def _leaves_out_broken(self, loop: BaseLoop) -> bool:
        """Let a loop's data name broken samples, or leave them out; whether it did."""
        if self.broken_data is None:
            return False
        dataset = loop.dataloader.dataset
        check_samples(dataset, ignored_numbers(self.cfg), _IN_EVALUATION)
        broken = leave_out_broken(dataset) if self.broken_data.skip_in_evaluation else []
        for text in broken:
            self.logger.warning(f'broken and left out of the evaluation: {text}')
        self.broken_data.left_out.update(broken)
        return bool(broken)

    @staticmethod
    def _of_these(loop: BaseLoop) -> BaseLoop:
        """Let the metrics of a loop expect the images of its data alone, not all of an annotation file."""
        dataset = loop.dataloader.dataset
        for metric in loop.evaluator.metrics:
            if hasattr(metric, 'img_ids'):
                metric.img_ids = [dataset.get_data_info(index)['img_id'] for index in range(len(dataset))]
        return loop

    def register_default_hooks(self, hooks=None):
        hooks = {'checkpoint': dict(type='CheckpointHook'), **(hooks or {})}
        saving = hooks['checkpoint']
        if isinstance(saving, dict) and kind(saving) == 'CheckpointHook':
            hooks['checkpoint'] = {**saving, 'type': WholeCheckpointHook}
        for name, hook in (('bad_loss', StopAtBadLoss), ('broken_data', BrokenData)):
            arguments = hooks.pop(name, {})
            if arguments is not None:
                hooks[name] = {'type': hook, **arguments}
        super().register_default_hooks(hooks)
        self.register_hook(StopHook(self._signals))
        self.register_hook(ValidateResumed())

    def train(self):
        with self._ending_workers(), self._signals:
            return super().train()

    def val(self):
        with self._ending_workers():
            return super().val()

    def test(self):
        with self._ending_workers():
            return super().test()

    @contextlib.contextmanager
    def _ending_workers(self) -> Iterator[None]:
        try:
            yield
        finally:
            for loop in (self._train_loop, self._val_loop, self._test_loop):
                if isinstance(loop, BaseLoop):  # else it was not built
                    end_workers(loop.dataloader)

    def build_logger(self, *args, **kwargs):
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handleError = _raise
        log_notes(logger)
        return logger

    def build_visualizer(self, visualizer=None):
        with building(self.cfg, 'visualizer'):
            built = super().build_visualizer(visualizer)
            if is_main_process():  # MMEngine opens them when it first writes, with the model and the data built
                for backend in built._vis_backends.values():
                    backend.experiment  # noqa: B018  needs its package, and perhaps an account
        return built

    def call_hook(self, fn_name, **kwargs):
        if fn_name == 'before_save_checkpoint':
            schedule.leave_out_functions(kwargs['checkpoint'])
            if self._pending:
                kwargs['checkpoint']['gradients'] = self._pending
        if fn_name not in ('before_run', 'before_train'):
            return super().call_hook(fn_name, **kwargs)
        for hook in self._hooks:  # those that cannot begin are not set up rightly
            with building(self.cfg, type(hook).__name__):
                getattr(hook, fn_name)(self, **kwargs)

    def load_checkpoint(self, filename, map_location='cpu', strict=False, revise_keys=((r'^module.', ''),)):
        if self._checkpoint is None:
            return super().load_checkpoint(filename, map_location, strict, list(revise_keys))
        # EMAHook would swap the plain form's averages in; a checkpoint's weights are the averages.
        if self._deploy or self._replace:
            self._hooks = [hook for hook in self._hooks if not isinstance(hook, EMAHook)]
        model = self.model.module if is_model_wrapper(self.model) else self.model
        load_whole(model, self._checkpoint['state_dict'], filename)  # before a hook tries, such as EMAHook
        with _taking_over(filename):
            self.call_hook('after_load_checkpoint', checkpoint=self._checkpoint)
        load_whole(model, self._checkpoint['state_dict'], filename)
        if self._deploy:
            speed_up(model, True, self._dtype, self._compile)
        if self._replace:
            self._replace(model)
        self._has_loaded = True
        self.logger.info(f'Loaded {filename}: all keys match.')
        return self._checkpoint

    def resume(self, filename, *args, **kwargs):
        if self._checkpoint is None:  # MMEngine has found it
            self._checkpoint = CheckpointLoader.load_checkpoint(filename, 'cpu')
        self._checkpoint['meta'].pop('config', None)  # MMEngine would run it, for what MMCV recorded in it
        planned = schedule.settings(self.param_schedulers) if isinstance(self.param_schedulers, list) else None
        with _taking_over(f'--resume: {filename}'):
            try:
                super().resume(filename, *args, **kwargs)
            finally:
                self._check_optimizer(filename)
            recorded = self._checkpoint.get('param_schedulers')
            if planned is not None and isinstance(recorded, list):
                schedule.follow_config(self, planned, recorded)
        if isinstance(self.train_loop, EpochLoop):
            self.train_loop.done = self._checkpoint['meta'].get('epoch_iter', 0)
        if pending := self._checkpoint.get('gradients'):
            restore_gradients(self.optim_wrapper, self.model, pending, self.iter)
            self.logger.addFilter(lambda record: 'gradient of some iterations is lost' not in record.getMessage())
        if self.iter >= self.max_iters or self.epoch >= self.max_epochs:
            logger.warning(f'--resume: {filename} is the end of the run, so there is nothing left to train.')

    def _check_optimizer(self, filename: str) -> None:
        """Check that the optimizer's settings, which are those of the checkpoint now, are of its kind."""
        optimizer = getattr(self.optim_wrapper, 'optimizer', None)
        for group in getattr(optimizer, 'param_groups', ()):
            if missing := optimizer.defaults.keys() - group.keys():
                raise UserError(
                    f'--resume: {filename} is of a run with another optimizer than {type(optimizer).__name__}: '
                    f'its state has no {few(sorted(missing))}'
                )

    def save_checkpoint(self, out_dir, filename, *args, **kwargs):
        self._pending = pending_gradients(self.optim_wrapper, self.model)  # of all processes
        self._save_checkpoint(out_dir, filename, *args, **kwargs)

    @master_only
    def _save_checkpoint(self, out_dir, filename, *args, meta=None, **kwargs):
        meta = {**(meta or {}), 'processes': get_world_size()}
        if isinstance(self.train_loop, EpochLoop):
            meta = {**meta, 'epoch_iter': self.train_loop.done}
        if '://' in str(out_dir):  # MMEngine's remote storage
            super().save_checkpoint(out_dir, filename, *args, meta=meta, **kwargs)
        else:
            try:
                with whole_file(Path(out_dir, filename)) as part:
                    super().save_checkpoint(str(part.parent), part.name, *args, meta=meta, **kwargs)
            except OSError as error:
                raise UserError(
                    f'{Path(out_dir, filename)} cannot be written: {error.strerror}. The last good checkpoint stays. '
                    'Make room for the next one, and go on with --resume'
                ) from error

    def _init_model_weights(self):
        # A resumed run's weights all come from its checkpoint: pretrained ones need not be there any more.
        if not self._resume:
            with building(self.cfg, 'model'):
                super()._init_model_weights()
