"""timm's iFormer, run in a process of its own: `python -m tests.witness IN OUT`.

timm needs torchvision, and on CPU-only torch that is imported only once the operators that it looks for have been
declared. MMEngine's Runner fails where torchvision is half there, so both live in a folder of their own, `witness` in
the environment, which no other process sees.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

FOLDER = Path(sys.prefix) / 'witness'
ROOT = Path(__file__).resolve().parents[1]


def import_timm():
    """timm, imported from the witness's folder."""
    sys.path.append(str(FOLDER))
    operators = torch.library.Library('torchvision', 'FRAGMENT')
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
            del sys.modules[name]
        operators.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        operators.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    import timm

    timm.operators = operators  # they go when the library object goes
    return timm


def ask(models: dict[str, dict], image: torch.Tensor, folder: Path) -> dict[str, dict]:
    """What timm's models make of an image.

    Args:
        models: {timm's name of a model: its weights in timm's layout}.
        image: The batch (B, 3, H, W).
        folder: For the files by which the processes talk.

    Returns:
        {name: dict(logits=..., maps=[...], keys=[...])}: outputs in evaluation, and the model's keys.
    """
    assert FOLDER.is_dir(), f'{FOLDER} is missing: `make setup` installs requirements/witness.txt there'
    torch.save(dict(models=models, image=image), folder / 'in.pth')
    command = [sys.executable, '-m', 'tests.witness', str(folder / 'in.pth'), str(folder / 'out.pth')]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / 'out.pth')


@torch.no_grad()
def main(source: str, target: str) -> None:
    timm = import_timm()
    inputs, answers = torch.load(source), {}
    for name, weights in inputs['models'].items():
        model = timm.create_model(name).eval()
        model.load_state_dict(weights)
        maps = model.forward_intermediates(inputs['image'], intermediates_only=True)
        answers[name] = dict(logits=model(inputs['image']), maps=maps, keys=list(model.state_dict()))
    torch.save(answers, target)


if __name__ == '__main__':
    main(*sys.argv[1:])
