"""iFormer (ICLR 2025) as a backbone for OpenMMLab's toolboxes.

Importing the package needs torch and MMEngine; building a network also needs `mmcv.cnn`.
"""

from importlib.util import find_spec

__version__ = '0.2.0'

if find_spec('mmengine') is None:
    raise ImportError(
        'mmiformer needs MMEngine, which is not installed. Install one of the two stacks, never both side by side; in '
        'a checkout: `pip install ".[onedl]"` (the maintained fork) or `pip install ".[openmmlab]"` (the original '
        'packages, torch 2.1).'
    )

from .hub import get_config  # noqa: E402, after the check above
from .torchvision_stub import declare_operators  # noqa: E402

declare_operators()  # before anything imports torchvision

__all__ = ['__version__', 'get_config']
