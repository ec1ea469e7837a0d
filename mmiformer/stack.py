"""What differs between the maintained fork with torch 2.13 and the original OpenMMLab packages with torch 2.1."""

from __future__ import annotations

import _compat_pickle
import os
import pickle
import tarfile
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

# ---- weight files: from torch 2.6 on its weights-only unpickler takes a list of types


def load_weights(path: os.PathLike, map_location: Any, types: Mapping[str, Any]) -> Any:
    """Read a file of `torch.save` that may hold tensors, Python's own types, and some others.

    Args:
        path: The file.
        map_location: As `torch.load` takes it.
        types: {name in the file: object} of the others.

    Raises:
        pickle.UnpicklingError: It holds something else, 'GLOBAL name'.
    """
    if hasattr(torch.serialization, 'add_safe_globals'):
        with _allow_only([(value, name) for name, value in types.items()]):
            return torch.load(path, map_location, weights_only=True)
    if tarfile.is_tarfile(path):  # which torch.load would unpack into a folder
        raise pickle.UnpicklingError('GLOBAL tar, the format of torch 0.1, is not allowed')
    with open(path, 'rb') as file:
        zipped = torch.serialization._is_zipfile(file)
    archive = torch._C.PyTorchFileReader(os.fspath(path)) if zipped else None
    if archive and torch.serialization._is_torchscript_zip(archive):  # which torch.load would pass on to torch.jit.load
        raise pickle.UnpicklingError('GLOBAL TorchScript is not allowed')
    types = {**_tensor_parts(), **types}
    return torch.load(path, map_location, pickle_module=_restricted_pickle(types, archive), weights_only=False)


@contextmanager
def _allow_only(types: list) -> Iterator[None]:
    """Let torch's unpickler make `types` and nothing that another library has allowed (MMEngine allows `getattr`).

    Of torch's own types it loses `bytearray`, which takes as much memory as a file names.
    """
    others, own = torch.serialization.get_safe_globals(), torch._weights_only_unpickler._get_allowed_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(types)
    own.pop('builtins.bytearray', None)
    try:
        yield
    finally:
        own['builtins.bytearray'] = bytearray
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)


def _tensor_parts() -> dict[str, Any]:
    """{name in a file: object} of what tensors and parameters are made of, and of Python's own types."""
    utils = torch._utils
    names = ('_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_parameter', '_rebuild_parameter_with_state')
    dtypes = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
    return {
        **{f'torch._utils.{name}': getattr(utils, name) for name in names},
        **dtypes,
        'torch.Size': torch.Size,
        'torch.device': torch.device,
        'builtins.set': set,
        'builtins.complex': complex,
        'collections.OrderedDict': OrderedDict,
        'collections.Counter': Counter,
        '_codecs.encode': _encode,
    }


def _encode(text: str, encoding: str) -> bytes:
    """Stands in for `codecs.encode`, by which files of protocol 2 write bytes."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'GLOBAL _codecs.encode({encoding}) is not allowed')
    return text.encode(encoding)


def _restricted_pickle(types: Mapping[str, Any], archive: Any) -> ModuleType:
    """A stand-in for the module pickle whose unpickler makes `types` alone, and changes nothing but what it made.

    Args:
        types: {name in the file: object} of what the file may name.
        archive: torch's reader of the file, None for one in the format from before torch 1.6.
    """

    # In Python: the one in C takes memory by the numbers that a file names, and lets BUILD write to classes.
    class Unpickler(pickle._Unpickler):
        dispatch = dict(pickle._Unpickler.dispatch)

        def find_class(self, module: str, name: str) -> Any:
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)  # Python 2's, which protocol 2 writes
            if (full := f'{module}.{name}') not in types:
                raise pickle.UnpicklingError(f'GLOBAL {full} is not allowed')
            return types[full]

        def load_build(self) -> None:
            if isinstance(self.stack[-2], type) or callable(self.stack[-2]):
                raise pickle.UnpicklingError(f'GLOBAL {self.stack[-2]} is not to be changed')
            super().load_build()

        dispatch[pickle.BUILD[0]] = load_build

        def load_binpersid(self) -> None:
            kind, storage, key, _, count, *_ = self.stack[-1]
            if kind not in ('storage', b'storage'):  # a module's source code, which torch would compare
                raise pickle.UnpicklingError(f'GLOBAL {kind} is not allowed')
            # torch 2.1 takes the file's word for the size, and would read beyond the values that are there.
            if archive and count * torch._utils._element_size(storage.dtype) > len(archive.get_record(f'data/{key}')):
                raise pickle.UnpicklingError(f'data/{key} is shorter than its tensor')
            super().load_binpersid()

        dispatch[pickle.BINPERSID[0]] = load_binpersid
        # torch writes none of these; the first takes as much memory as the file names.
        for step in (pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.PERSID, pickle.EXT1, pickle.EXT2, pickle.EXT4):
            del dispatch[step[0]]

    module = ModuleType('restricted_pickle')
    module.Unpickler = Unpickler
    module.load = lambda file, **options: Unpickler(file, **options).load()
    return module


# ---- the rest


def numpy_core() -> ModuleType:
    """NumPy's core, which NumPy 2 renamed."""
    return np._core if np.lib.NumpyVersion(np.__version__) >= '2.0.0' else np.core  # 1.26 has an empty `_core`, too


def graph_limit() -> str:
    """The setting of torch's compiler that says how many graphs a function may have."""
    from torch._dynamo import config  # takes a second, which only who compiles shall wait

    return 'recompile_limit' if hasattr(config, 'recompile_limit') else 'cache_size_limit'  # before torch 2.6


# Chosen here, since torch 2.1's compiler cannot follow the choice.
if torch.__version__ >= (2, 3):
    is_compiling = torch.compiler.is_compiling
    has_global_hook = nn.modules.module._has_any_global_hook

    def has_own_forward(module: nn.Module) -> bool:
        """Whether a module's `forward` is not that of its class."""
        return 'forward' in vars(module)
else:
    from torch._dynamo.external_utils import is_compiling

    def has_global_hook() -> bool:
        """Whether a hook is set that runs with every module."""
        module = nn.modules.module
        return bool(
            module._global_backward_pre_hooks
            or module._global_backward_hooks
            or module._global_forward_pre_hooks
            or module._global_forward_hooks
        )

    def has_own_forward(module: nn.Module) -> bool:
        """Whether a module's `forward` is not that of its class."""
        if is_compiling():  # the compiler does not know `vars`, and takes a method for its function
            return module.forward != type(module).forward
        return 'forward' in vars(module)


if torch.__version__ >= (2, 4):
    autocasts_cpu = partial(torch.is_autocast_enabled, 'cpu')
else:
    autocasts_cpu = torch.is_autocast_cpu_enabled
# What autocast can compute in on the CPU.
CPU_AUTOCAST = (torch.bfloat16, torch.float16) if torch.__version__ >= (2, 4) else (torch.bfloat16,)


def can_export() -> bool:
    """Whether torch exports as the runtimes need it; 2.8 is the oldest that the requirements pin for them."""
    return torch.__version__ >= (2, 8)


def unfused_attention() -> AbstractContextManager:
    """Attention as its two products: torch has no formula for the FLOPs of some of the fused kernels."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:  # before torch 2.3
        return torch.backends.cuda.sdp_kernel(enable_flash=False, enable_mem_efficient=False)
    return sdpa_kernel(SDPBackend.MATH)


def skips_iterations() -> bool:
    """Whether MMEngine's loop skips what a resumed run has done; 0.10.7 asks for all those batches again."""
    from mmengine.runner import loops

    return hasattr(loops._InfiniteDataloaderIterator, 'skip_iter')
