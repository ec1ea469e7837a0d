"""Checks that the stack works: names each part's version, runs an operator of mmcv, builds the backbone and runs it."""

import argparse
import importlib
import sys
import traceback

PARTS = ('torch', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmiformer')
REMEDIES = {
    'mmcv.ops': 'mmcv was installed without its compiled operators, or they were compiled for another torch. In a '
    'checkout: delete .venv and run `make setup`. Elsewhere: `pip install --no-build-isolation --no-cache-dir '
    '--force-reinstall --no-deps onedl-mmcv` (or mmcv) once torch is there.',
    'mmdet': 'Its message names the versions that do not go together; requirements/ lists the combinations that do.',
    'mmseg': 'Its message names the versions that do not go together; requirements/ lists the combinations that do.',
}


def check_part(name: str):
    """Imports a part and prints its version; on failure ends the program with the cause and what to do."""
    try:
        module = importlib.import_module(name)
    except (
        Exception
    ) as error:  # whatever stops an import, a version assert or an undefined symbol, is what this is about
        remedy = REMEDIES.get(name, 'Install the stack: in a checkout `make setup`, or `pip install ".[onedl]"`.')
        sys.exit(f'check: {name} does not import: {type(error).__name__}: {error}\n{remedy}')
    if name in PARTS:
        print(f'{name:10} {module.__version__}')
    return module


def check_operators(device: str) -> str:
    """Runs one compiled operator on the device: `nms`, which must drop the second of two equal boxes."""
    import torch

    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 8.0]], device=device)
    kept = check_part('mmcv.ops').nms(boxes, torch.tensor([0.9, 0.8], device=device), 0.5)[1]
    if kept.tolist() != [0]:
        raise RuntimeError(f'nms kept boxes {kept.tolist()} instead of [0]')
    return f'mmcv.ops   loads; nms on {device} is right'


def check_backbone(device: str) -> str:
    """Builds iFormer-T through MMEngine's registry, as a toolbox does, and runs it on one image."""
    import torch
    from mmengine.registry import MODELS

    backbone = MODELS.build(dict(type='mmiformer.IFormer', arch='t')).to(device).eval()
    with torch.no_grad():
        maps = backbone(torch.rand(1, 3, 64, 96, device=device))
    if not all(torch.isfinite(one).all() for one in maps):
        raise RuntimeError('the backbone returned values that are not finite')
    shapes = ', '.join('x'.join(map(str, one.shape[1:])) for one in maps)
    return f'backbone   mmiformer.IFormer, arch t, 3x64x96 on {device} -> {shapes}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu', help='where operators and backbone run')
    device = parser.parse_args().device
    print(f'{"python":10} {sys.version.split()[0]}')
    modules = {name: check_part(name) for name in PARTS}
    if device == 'cuda' and not modules['torch'].cuda.is_available():
        sys.exit(
            f'check: torch {modules["torch"].__version__} sees no card. `nvidia-smi` must list one and torch must be a '
            'CUDA build; `make setup DEVICE=cpu` sets up for the CPU.'
        )
    for check in (check_operators, check_backbone):
        try:
            print(check(device))
        except Exception:  # the traceback is the report
            sys.exit(f'check: {check.__name__} failed on {device}:\n{traceback.format_exc()}')


if __name__ == '__main__':
    main()
