"""Check that the stack works: print the versions, run an operator of mmcv, build the backbone and run it."""

import argparse
import importlib
import sys

PARTS = ('torch', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmiformer')
REMEDIES = {
    'mmcv.ops': 'mmcv was installed without its compiled operators, or they were compiled for another torch. In a '
    'checkout: delete .venv and run `make setup`. Elsewhere: `pip install --no-build-isolation --no-cache-dir '
    '--force-reinstall --no-deps onedl-mmcv` (or mmcv) once torch is there.',
    'mmdet': 'Its message names the versions that do not go together; requirements/ lists the combinations that do.',
    'mmseg': 'Its message names the versions that do not go together; requirements/ lists the combinations that do.',
}


def check_part(name: str):
    """Import a part and print its version; on failure end the program with the cause and what to do."""
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a version assert, an undefined symbol: whatever stops an import is reported
        remedy = REMEDIES.get(name, 'Install the stack: in a checkout `make setup`, or `pip install ".[onedl]"`.')
        sys.exit(f'check: {name} does not import: {type(error).__name__}: {error}\n{remedy}')
    if name in PARTS:
        if not hasattr(module, '__version__'):  # Python takes any folder of that name for a package
            sys.exit(
                f'check: {name} is not the package but {", ".join(module.__path__)}, which comes before it on the '
                'search path: run this from elsewhere, or rename that folder.'
            )
        print(f'{name:10} {module.__version__}')
    return module


def check_operators(device: str) -> str:
    """Run one compiled operator on the device: `nms`, which must drop the second of two equal boxes."""
    import torch

    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 8.0]], device=device)
    kept = check_part('mmcv.ops').nms(boxes, torch.tensor([0.9, 0.8], device=device), 0.5)[1]
    if kept.tolist() != [0]:
        raise RuntimeError(f'nms kept boxes {kept.tolist()} instead of [0]')
    return f'mmcv.ops   loads; nms on {device} is right'


def check_backbone(device: str) -> str:
    """Build iFormer-T through MMEngine's registry, as a toolbox does, and run it on one image."""
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
            f'check: torch {modules["torch"].__version__} sees no GPU. `nvidia-smi` must list one and torch must be a '
            'CUDA build; `make setup DEVICE=cpu` sets up for the CPU.'
        )
    for check in (check_operators, check_backbone):
        try:
            said = check(device)
        except Exception as error:  # whatever a stack of parts that do not fit each other does
            what = check.__name__.replace('check_', 'the ')
            sys.exit(f'check: {what} failed on {device}: {type(error).__name__}: {error}\n{REMEDIES["mmcv.ops"]}')
        print(said)


if __name__ == '__main__':
    main()
