"""What a run begins with: its work directory, the checkpoint that it resumes from, and its seed."""

from pathlib import Path

from mmengine.config import Config
from mmengine.dist import sync_random_seed

from ..checkpoint import load, locate
from ..errors import UserError, few
from ..models.loading import state_dict_of
from .launch import join_processes
from .saving import last_whole_checkpoint


def set_work_dir(cfg: Config, asked: str | None, *below: str) -> Path:
    """Write a run's directory into its config: the one asked for, else the config's, else work_dirs/NAME_OF_CONFIG.

    Args:
        cfg: The config, changed in place.
        asked: The directory of the command line.
        below: Subdirectories that are appended to a directory that was not asked for.

    Raises:
        UserError: Something else has that name.
    """
    if asked:
        work_dir = Path(asked).expanduser()
    else:
        work_dir = Path(cfg.get('work_dir') or Path('work_dirs', Path(cfg.filename).stem), *below)
    if work_dir.exists() and not work_dir.is_dir():
        raise UserError(f'work directory {work_dir} is a file')
    cfg.work_dir = str(work_dir)
    return work_dir


def find_checkpoint(resume: str | None, work_dir: Path) -> Path | None:
    """The checkpoint to resume from.

    Args:
        resume: None for a new run; 'auto' for the last whole checkpoint of `work_dir`, if it has any; or a checkpoint.
        work_dir: The run's directory.

    Returns:
        The file, or None where there is nothing to resume.

    Raises:
        MissingFile: The checkpoint is not there.
        UserError: A new run would write over the checkpoints that are in `work_dir`; or none of them is whole.
    """
    if resume not in (None, 'auto'):
        return locate(resume)
    if resume == 'auto':
        return last_whole_checkpoint(work_dir)
    names = few(sorted(path.name for path in work_dir.glob('[!.]*.pth')))
    if not names:
        return None
    raise UserError(
        f'{work_dir} holds the checkpoints of another run ({names}), which this one would write over. '
        'Continue that run with --resume, give another --work-dir, or remove them'
    )


def read_checkpoint(source: str | Path, trust: bool = False, bare: bool = False) -> dict:
    """Read the checkpoint of a whole model.

    Args:
        source: As for `checkpoint.load`.
        trust: As for `checkpoint.load`.
        bare: Whether weights alone will do, as the published classifiers are.

    Raises:
        MissingFile: It is not there.
        UserError: It cannot be read safely, or holds no whole model.
    """
    checkpoint = load(source, trust=trust)
    if bare:
        return dict(meta=checkpoint.get('meta', {}), state_dict=state_dict_of(checkpoint))
    if 'state_dict' not in checkpoint:
        raise UserError(
            f'{source} is not a checkpoint of a whole model: it has no state_dict, but {few(checkpoint)}. '
            "Weights of a backbone belong in the config's model.backbone.init_cfg"
        )
    try:
        state_dict_of(checkpoint)
    except UserError as error:
        raise UserError(f'{source}: {error}') from error
    if not isinstance(checkpoint.get('meta', {}), dict):
        raise UserError(f'{source} is damaged: its meta is {checkpoint["meta"]!r:.80}, not a dict')
    return checkpoint


def settle_run(
    cfg: Config, launcher: str, local_rank: int, seed: int | None = None, resumed: dict | None = None
) -> None:
    """Settle what the processes of a training have in common, in place, before anything is built.

    The order matters. The processes join first: a random seed is one for all of them, and their number is part of the
    batch that the recipe's learning rate is compared with.

    Args:
        cfg: The config.
        launcher: As for :func:`~mmiformer.engine.launch.join_processes`.
        local_rank: As for :func:`~mmiformer.engine.launch.join_processes`.
        seed: The seed of the command line.
        resumed: The checkpoint that the run resumes from.
    """
    join_processes(cfg, launcher, local_rank)
    settle_seed(cfg, seed, resumed)


def settle_seed(cfg: Config, asked: int | None = None, checkpoint: dict | None = None) -> int:
    """Write the seed of a run into its config: a resumed run's own, else the one asked for, the config's, a random one.

    Call it before anything is built. With no seed in the config, MMEngine's Runner draws one, seeds the sampler with
    it, and only then reads the seed of the checkpoint it resumes: the samples would come in another order.

    Args:
        cfg: The config, changed in place.
        asked: The seed of the command line.
        checkpoint: The checkpoint that the run resumes from.

    Returns:
        The seed.

    Raises:
        UserError: The seed asked for is not that of the run to be resumed, or that of the config is no whole number.
    """
    recorded = (checkpoint or {}).get('meta', {}).get('seed')
    if None not in (asked, recorded) and asked != recorded:
        raise UserError(
            f'--seed {asked}: the run to be resumed has the seed {recorded}, which sets the order of its samples. '
            'Leave --seed out, or start a new run'
        )
    randomness = dict(cfg.get('randomness', {}))
    seed = next((value for value in (recorded, asked, randomness.get('seed')) if value is not None), None)
    if seed is None:
        seed = sync_random_seed()
    try:
        seed = int(seed)
    except (TypeError, ValueError) as error:
        whose = '' if recorded is None else ' (from the checkpoint)'
        raise UserError(f'randomness.seed={seed!r}{whose} must be a whole number') from error
    cfg.randomness = {**randomness, 'seed': seed}
    return seed
