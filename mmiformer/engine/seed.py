"""The seed of a run, settled before anything is built.

With no seed in the config MMEngine's Runner draws one, seeds the sampler with it, and only then reads the seed of the
checkpoint it resumes: the samples would come in another order than they would have.
"""

from mmengine.config import Config
from mmengine.dist import sync_random_seed


def settle_seed(cfg: Config, asked: int | None = None, checkpoint: dict | None = None) -> int:
    """Write the seed of a run into its config: a resumed run's own, else the one asked for, the config's, a random one.

    Args:
        cfg: The config, changed in place.
        asked: The seed of the command line.
        checkpoint: The checkpoint that the run resumes from.

    Returns:
        The seed.

    Raises:
        ValueError: The seed asked for is not that of the run to be resumed.
    """
    recorded = (checkpoint or {}).get('meta', {}).get('seed')
    if None not in (asked, recorded) and asked != recorded:
        raise ValueError(
            f'--seed {asked}: the run to be resumed has the seed {recorded}, on which the order of its samples hangs. '
            'Leave --seed out, or start a new run'
        )
    randomness = dict(cfg.get('randomness', {}))
    candidates = (recorded, asked, randomness.get('seed'))
    seed = next((int(value) for value in candidates if value is not None), None)
    if seed is None:
        seed = sync_random_seed()
    cfg.randomness = {**randomness, 'seed': seed}
    return seed
