"""Lets torchvision be imported beside a torch that its compiled operators do not fit.

PyPI has torchvision for CUDA alone. Beside torch for the CPU its library does not load, and `import torchvision` ends
in `operator torchvision::nms does not exist`. timm, mmpretrain, `mmseg.models` and MMEngine import it.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path


@functools.cache
def declare_operators() -> object:
    """Declare the operators that `import torchvision` asks for, where torchvision cannot bring its own.

    Call it before anything imports torchvision. Models work afterwards; torchvision's own operators, such as
    `torchvision.ops.nms`, raise as before.

    Returns:
        What keeps the declarations alive, or None where torchvision is absent or complete.
    """
    spec = find_spec('torchvision')
    if spec is None or spec.origin is None:
        return None
    import torch

    for library in Path(spec.origin).parent.glob('_C*.so'):
        try:
            torch.ops.load_library(library)
            return None
        except OSError:
            pass  # as torchvision does
    operators = torch.library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
        operators.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    return operators
