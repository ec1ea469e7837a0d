"""MMEngine's Runner, except that a checkpoint that is to be tested or resumed is loaded whole or not at all."""

from collections.abc import Iterable

from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from .speed import speed_up


class CheckpointMismatch(ValueError):
    """A checkpoint does not hold the model's weights."""


def load_whole(model: nn.Module, state_dict: dict[str, Tensor], source: str) -> None:
    """Load weights into a model, all of them.

    Args:
        model: The detector or segmentor.
        state_dict: {key: tensor}.
        source: Where it comes from, for the error.

    Raises:
        CheckpointMismatch: A key of the model is missing, or the model has no place for one, or shapes differ.
    """
    state_dict = {key.removeprefix('module.'): value for key, value in state_dict.items()}
    try:
        missing, unexpected = model.load_state_dict(state_dict, strict=False)
    except (RuntimeError, ValueError) as error:  # shapes, or weights of a backbone that are not its own
        lines = [line.strip() for line in str(error).splitlines()]
        reason = ' '.join(lines[:4]) + (f' ... and {len(lines) - 4} more' if lines[4:] else '')
        raise CheckpointMismatch(f'{source} does not fit the model of this config: {reason}') from error
    # Batch counters are no weights, and old checkpoints have none.
    missing = [key for key in missing if not key.endswith('num_batches_tracked')]
    faults = [
        f'{len(keys)} keys {what}: {_first(keys)}'
        for keys, what in ((missing, 'of the model are missing'), (unexpected, 'have no place in the model'))
        if keys
    ]
    if faults:
        raise CheckpointMismatch(
            f'{source} does not fit the model of this config ({type(model).__name__}). {"; ".join(faults)}. '
            'Was it trained with another config?'
        )


def _first(keys: Iterable[str], number: int = 4) -> str:
    keys = list(keys)
    return ', '.join(keys[:number]) + (', ...' if keys[number:] else '')


class WholeRunner(Runner):
    """MMEngine's Runner; :attr:`whole`, if set, is a checkpoint that was read before, and is loaded strictly.

    `cfg.load_from` without it starts from weights for another task, as ever: what does not fit is left aside. Then
    :attr:`deploy` and :attr:`compile` bring the backbone into a faster form.
    """

    whole: dict | None = None
    deploy: bool = False
    compile: bool = False

    def load_checkpoint(self, filename, map_location='cpu', strict=False, revise_keys=((r'^module.', ''),)):
        if self.whole is None:
            return super().load_checkpoint(filename, map_location, strict, list(revise_keys))
        if self.deploy:  # EMAHook would swap the plain form's averages in; a checkpoint's weights are the averages
            self._hooks = [hook for hook in self._hooks if not isinstance(hook, EMAHook)]
        self.call_hook('after_load_checkpoint', checkpoint=self.whole)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        load_whole(model, self.whole['state_dict'], filename)
        speed_up(model, self.deploy, self.compile)
        self._has_loaded = True
        self.logger.info(f'Loaded {filename}: all keys match.')
        return self.whole

    def _init_model_weights(self):
        # A resumed run's weights all come from its checkpoint: pretrained ones need not be there any more.
        if not self._resume:
            super()._init_model_weights()
