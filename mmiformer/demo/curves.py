"""Training curves, from the scalars that MMEngine writes."""

import json
from dataclasses import dataclass
from pathlib import Path

Points = dict[int, float]  # by iteration


@dataclass(frozen=True)
class Curves:
    """What was logged while training.

    Attributes:
        loss: The sum of the losses.
        metrics: {name: points} of the evaluations in between, in percent.
    """

    loss: Points
    metrics: dict[str, Points]


# Name in a scalars file -> ours, and what makes it percent.
_METRICS = {'coco/bbox_mAP': ('box AP', 100), 'coco/segm_mAP': ('mask AP', 100), 'mIoU': ('mIoU', 1)}


def read_curves(work_dir: Path) -> Curves:
    """Read the curves of a training, of all the runs that it was resumed in; later ones count.

    Args:
        work_dir: Its work directory.

    Raises:
        FileNotFoundError: It holds no scalars.
    """
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))  # the folders are named by the time
    if not files:
        raise FileNotFoundError(f'{work_dir} holds no run: no */vis_data/scalars.json')
    loss, ends, metrics = {}, {}, {}
    for file in files:
        for line in file.read_text().splitlines():
            try:
                scalars = json.loads(line)
            except ValueError:  # the last line of a run that was killed
                continue
            if 'loss' in scalars:
                loss[scalars['step']] = scalars['loss']
                if 'epoch' in scalars:
                    ends[scalars['epoch']] = max(scalars['step'], ends.get(scalars['epoch'], 0))
            for key, (name, percent) in _METRICS.items():
                if key in scalars:
                    # epoch-based training counts evaluations in epochs
                    step = ends.get(scalars['step'], scalars['step'])
                    metrics.setdefault(name, {})[step] = percent * scalars[key]
    return Curves(dict(sorted(loss.items())), {name: dict(sorted(points.items())) for name, points in metrics.items()})
