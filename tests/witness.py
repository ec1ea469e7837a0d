"""timm's iFormer, run in a process of its own: `python -m tests.witness IN OUT`.

MMEngine's Runner fails where torchvision is half there, so timm and torchvision live in a folder of their own,
`witness` in the environment, which only processes see that ask for it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from mmiformer.benchmark.timm_peers import FOLDER, import_timm

ROOT = Path(__file__).resolve().parents[1]


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
