"""Weight files that somebody has tampered with. What would run on loading makes the file `ran` where one stands."""

from __future__ import annotations

import collections
import functools
import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

CANARY = 'ran'


class Tampered(NamedTuple):
    """A file: what was done to it, where, its bytes, and whether reading it has to fail."""

    kind: str
    place: str
    content: bytes
    fails: bool = True


class Call:
    """Pickled, it is a call."""

    def __init__(self, function: Callable, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


class Stranger:
    """A class that no list knows."""


def forbidden() -> dict[str, Any]:
    """{what a message must name: object} of what no weight file may hold."""
    return {
        'posix.system': Call(os.system, 'echo ran > ran'),
        'eval': Call(eval, "open('ran', 'w').close()"),
        'getattr(HistoryBuffer,__init__)': Call(getattr, HistoryBuffer, '__init__'),
        'getattr(dtype,__init_subclass__)': Call(getattr, np.dtype, '__init_subclass__'),
        'functools.partial': functools.partial(print, 'ran'),
        'Stranger': Stranger(),
        'collections.defaultdict': collections.defaultdict(list),
    }


def whole() -> dict:
    """The content of a checkpoint of a run, in small."""
    weights = {'backbone.stem.0.conv.weight': torch.ones(4, 3, 5, 5), 'backbone.stem.0.norm.bias': torch.ones(4)}
    return dict(
        meta=dict(epoch=1, iter=2, seed=3, cfg='a = 1', dataset_meta=dict(classes=('cat', 'dog'))),
        state_dict=weights,
        message_hub=dict(log_scalars={'train/loss': HistoryBuffer([1.0], [1])}, runtime_info={}, resumed_keys={}),
        optimizer=dict(state={0: dict(step=1, exp_avg=torch.ones(4))}, param_groups=[dict(lr=0.1, params=[0])]),
        param_schedulers=[dict(last_step=2)],
    )


def saved(content: Any, zipped: bool = True) -> bytes:
    """The bytes of `torch.save`."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def tampered() -> Iterator[Tampered]:
    """All of them."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # zipfile's, of members of the same name
        for make in (_flips, _values, _cuts, _foreign, _programs, _archives, _sizes, _safetensors, _structures):
            yield from make()


# --- bytes


def flipped(content: bytes, at: int, bits: int = 0xFF) -> bytes:
    """The bytes with one of them changed."""
    return content[:at] + bytes([content[at] ^ bits]) + content[at + 1 :]


def _flips() -> Iterator[Tampered]:
    """One byte changed: in the pickle, in the tables, among the weights.

    An archive has checksums of its members; in a legacy file the weights then are just others.
    """
    for zipped in (True, False):
        content = saved(whole(), zipped)
        for at in range(3, len(content), len(content) // 30):
            name = f'{"zip" if zipped else "legacy"} byte {at}'
            yield Tampered('flip', name, flipped(content, at), fails=zipped and _is_data(content, at))


def _is_data(archive: bytes, at: int) -> bool:
    """Whether a byte of an archive belongs to what a member holds."""
    return any(at in place for place in _data(archive).values())


def _data(archive: bytes) -> dict[str, range]:
    """{member: where its bytes are} of an archive."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        for member in file.infolist():
            start = member.header_offset + 30 + sum(struct.unpack_from('<HH', archive, member.header_offset + 26))
            found[member.filename] = range(start, start + member.file_size)
    return found


def _values() -> Iterator[Tampered]:
    """One bit of a number changed, which nothing but a checksum can tell."""
    content = saved(whole())
    for name, place in _data(content).items():
        if '/data/' in name:
            for at in (place[0], place[len(place) // 2], place[-1]):
                yield Tampered('value', f'byte {at - place[0]} of {name}', flipped(content, at, bits=1))


def _cuts() -> Iterator[Tampered]:
    for zipped in (True, False):
        content = saved(whole(), zipped)
        for part in range(1 - zipped, 20):
            length = len(content) * part // 20
            yield Tampered('cut', f'{"zip" if zipped else "legacy"} {length} of {len(content)}', content[:length])


# --- what is pickled

# Where a checkpoint has room for an object: each puts one there.
_PLACES: dict[str, Callable[[dict, Any], Any]] = {
    'whole': lambda content, thing: thing,
    'top': lambda content, thing: {**content, 'x': thing},
    'list': lambda content, thing: [content, thing],
    'state_dict': lambda content, thing: {**content, 'state_dict': thing},
    'tensor': lambda content, thing: {**content, 'state_dict': {**content['state_dict'], 'neck.x': thing}},
    'attribute': lambda content, thing: {**content, 'model': _parameter_with(thing)},
    'meta': lambda content, thing: {**content, 'meta': {**content['meta'], 'x': thing}},
    'classes': lambda content, thing: {**content, 'meta': {'dataset_meta': {'classes': ('cat', thing)}}},
    'message_hub': lambda content, thing: {**content, 'message_hub': {'log_scalars': {'loss': thing}}},
    'optimizer': lambda content, thing: {**content, 'optimizer': {'state': {0: {'step': thing}}}},
    'schedulers': lambda content, thing: {**content, 'param_schedulers': [{'_schedulers': thing}]},
    'deep': lambda content, thing: {**content, 'ema': functools.reduce(lambda inner, _: [inner], range(50), thing)},
}


def _parameter_with(thing: Any) -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.thing = thing
    return parameter


def _foreign() -> Iterator[Tampered]:
    for name, thing in forbidden().items():
        for place, put in _PLACES.items():
            yield Tampered('foreign', f'{name} as {place}', saved(put(whole(), thing)))
        yield Tampered('foreign', f'{name} in a legacy file', saved(_PLACES['top'](whole(), thing), zipped=False))


def _text(value: str) -> bytes:
    value = value.encode()
    return b'X' + struct.pack('<I', len(value)) + value


# What a pickle can call by each of its opcodes.
_SHELL = _text('echo ran > ran')
_CALLS = {
    'GLOBAL REDUCE': b'cos\nsystem\n' + _SHELL + b'\x85R',
    'STACK_GLOBAL REDUCE': _text('os') + _text('system') + b'\x93' + _SHELL + b'\x85R',
    'INST': b'(' + _SHELL + b'ios\nsystem\n',
    'OBJ': b'(cos\nsystem\n' + _SHELL + b'o',
    'NEWOBJ': b'csubprocess\nPopen\n(' + _text('touch ran') + b't\x81',
    'NEWOBJ_EX': b'csubprocess\nPopen\n)}' + _text('args') + _text('touch') + b's\x92',
    'BUILD of a class': b'cmmengine.logging.history_buffer\nHistoryBuffer\n}' + _text('mean') + _SHELL + b'sb',
    'EXT1': b'\x82\x01',
    'PERSID': b'Pstorage\n',
    'BINPERSID of a shell': b'cos\nsystem\nQ',
    'BINPERSID of a number': b'K\x01Q',
    'a storage of no type': b'(' + _text('storage') + _text('x') + _text('0') + _text('cpu') + b'K\x01tQ',
}
_GLOBALS = (
    ['builtins exec', 'builtins open', 'builtins __import__', 'builtins compile', 'builtins globals', 'builtins type']
    + [
        'importlib import_module',
        'runpy run_path',
        'pickle loads',
        'marshal loads',
        'types FunctionType',
        'shutil rmtree',
    ]
    + ['torch load', 'torch.hub load', 'torch.jit load', 'torch._utils __builtins__', 'numpy load', 'numpy memmap']
    + ['torch.storage _load_from_bytes', 'torch.utils.data DataLoader', 'torch.nn Module', 'operator methodcaller']
    + ['numpy.core.multiarray fromfile', 'numpy.testing run_doctests', 'mmengine.config Config.fromfile', 'ctypes CDLL']
    + ['mmiformer.checkpoint load', 'mmengine.logging HistoryBuffer.register_statistics', 'argparse FileType']
)
# What makes an unpickler work or fail without end.
_ODD = {
    'nothing': b'',
    'a number': b'K\x01',
    'an empty list': b']',
    'text': _text('state_dict'),
    'no stop': b'}' * 9,
    'an empty stack': b'0000',
    'a mark alone': b'(((',
    'an opcode that there is not': b'\xfe',
    'a text that is no UTF-8': b'X\x02\x00\x00\x00\xff\xfe',
    'a memo that there is not': b'h\x07',
    'a frame beyond the end': b'\x95' + struct.pack('<Q', 2**40) + b'}',
    'a list that holds itself': b']q\x00h\x00a',
    'a dict that holds itself': b'}q\x00' + _text('state_dict') + b'h\x00s',
    'lists 20000 deep': b']' * 20000 + b'a' * 19999,
    'tuples that double 40 times': b')' + b''.join(b'q%ch%ch%c\x86' % (k, k, k) for k in range(40)) + b'\x85',
    'keys that no hash has': b'}]]s',
    'protocol 200': b'\x80\xc8}',
}


def _programs() -> Iterator[Tampered]:
    """Pickles written opcode by opcode."""
    programs = {f'a call by {name}': code for name, code in _CALLS.items()}
    for name in _GLOBALS:
        module, attribute = name.split()
        programs[f'{name} called'] = f'c{module}\n{attribute}\n'.encode() + _text(CANARY) + b'\x85R'
    for name, code in programs.items():
        yield Tampered('program', name, _archive(b'\x80\x02}' + _text('model') + code + b's.'))
        yield Tampered('program', f'{name}, legacy', _legacy(b'\x80\x02' + code + b'.'))
    for name, code in _ODD.items():
        yield Tampered('program', name, _archive(b'\x80\x02' + code + b'.'), fails=False)


def _legacy(pickled: bytes) -> bytes:
    numbers = pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps({}, 2)
    return b''.join(numbers) + pickled + pickle.dumps([], 2)


# --- archives


def _members() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(saved(whole()))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _archive(pickled: bytes | None = None, changes: dict[str, bytes | None] | None = None, **options: Any) -> bytes:
    """A file of torch with another pickle, or with members changed, added, or, where None, left out."""
    members = {**_members(), **(changes or {})}
    if pickled is not None:
        members['archive/data.pkl'] = pickled
    return _zip([(name, content) for name, content in members.items() if content is not None], **options)


def _zip(members: list[tuple[str, bytes]], **options: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', **options) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = options.get('compression', zipfile.ZIP_STORED)
            archive.writestr(info, content)
    return file.getvalue()


def _archives() -> Iterator[Tampered]:
    members, evil = list(_members().items()), pickle.dumps(forbidden()['posix.system'], 2)
    bomb = bytes(2**26)
    for name, method in dict(deflate=zipfile.ZIP_DEFLATED, bzip2=zipfile.ZIP_BZIP2, lzma=zipfile.ZIP_LZMA).items():
        yield Tampered('archive', f'compressed by {name}', _archive(compression=method))
    for place in ('data.pkl', 'data/0', 'version', 'byteorder', 'extra'):
        content = _archive(changes={f'archive/{place}': bomb}, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
        yield Tampered('archive', f'a bomb of 64 MiB as {place}', content)
    del bomb
    for name, _ in members:
        yield Tampered('archive', f'without {name}', _archive(changes={name: None}), fails='/data' in name)
        if name != 'archive/data.pkl':
            yield Tampered('archive', f'{name} empty', _archive(changes={name: b''}), fails='/data/' in name)
    pickled = ('archive/data.pkl', evil)
    yield Tampered('archive', 'two pickles, the first evil', _zip([pickled, *members]))
    yield Tampered('archive', 'two pickles, the second evil', _zip([*members, pickled]))
    for name in ('/tmp/ran', '../ran', 'archive/../../ran', 'C:\\ran', 'ran', 'archive/data/../../ran', 'archive/é\n'):
        content = _archive(changes={name: b'ran'})
        yield Tampered('archive', f'a member {name!r}', content, fails=False)
    for name in ('/archive/data.pkl', '../data.pkl', 'other/data.pkl', 'archive/deep/data.pkl', 'data.pkl'):
        yield Tampered('archive', f'an evil pickle as {name}', _zip([(name, evil)]))
    yield Tampered('archive', 'a program of TorchScript', _archive(changes={'archive/constants.pkl': evil}))
    yield Tampered('archive', 'no members', b'PK\x03\x04' + _zip([]))
    yield Tampered('archive', 'something before it', b'PK\x03\x04' + bytes(100) + _archive(), fails=False)
    yield Tampered('archive', 'something after it', _archive() + bytes(100), fails=False)
    yield Tampered('archive', 'twice', _archive() * 2, fails=False)
    big = _archive(changes={'archive/byteorder': b'big'})
    yield Tampered('archive', 'of the other byte order', big, fails=False)
    yield Tampered('archive', 'of an unknown byte order', _archive(changes={'archive/byteorder': b'middle'}))


# --- sizes


def _tensor(elements: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    """A pickle of {'model': {'w': tensor}} whose numbers are what they are said to be."""

    def integers(values: tuple[int, ...]) -> bytes:
        return b'(' + b''.join(pickle.dumps(value, 2)[2:-1] for value in values) + b't'

    storage = b'(' + _text('storage') + b'ctorch\nFloatStorage\n' + _text('0') + _text('cpu')
    storage += pickle.dumps(elements, 2)[2:-1] + b'tQ'
    rebuild = b'ctorch._utils\n_rebuild_tensor_v2\n(' + storage + pickle.dumps(offset, 2)[2:-1]
    rebuild += integers(shape) + integers(strides) + b'\x89ccollections\nOrderedDict\n)RtR'
    return b'\x80\x02}' + _text('model') + b'}' + _text('w') + rebuild + b'ss.'


def _sizes() -> Iterator[Tampered]:
    """Small files that call themselves large."""
    for name, numbers in {
        'a storage of 2**40': (2**40, (4,), (1,)),
        'a storage of -1': (-1, (4,), (1,)),
        'a shape of 2**40': (300, (2**40,), (1,)),
        'a shape of 2**63': (300, (2**63,), (1,)),
        'a product of 2**80': (300, (2**40, 2**40), (1, 1)),
        'a negative shape': (300, (-4,), (1,)),
        'a stride of 2**40': (300, (2, 2), (2**40, 1)),
        'a negative stride': (300, (2, 2), (-1, 1)),
        'an offset of 2**40': (300, (4,), (1,), 2**40),
        'a negative offset': (300, (4,), (1,), -8),
        '1000 dimensions': (300, (1,) * 1000, (1,) * 999),
    }.items():
        yield Tampered('size', name, _archive(_tensor(*numbers)))
    # One number that is shown 2**40 times: no memory, but whoever copies it takes 4 TiB.
    content = _archive(_tensor(300, (2**20, 2**20), (0, 0)))
    yield Tampered('size', 'a shape of 2**40 by strides of 0', content, fails=False)
    for opcode, name in {
        b'X': 'BINUNICODE',
        b'B': 'BINBYTES',
        b'T': 'BINSTRING',
        b'\x8b': 'LONG4',
        b'r': 'LONG_BINPUT',
    }.items():
        code = b'\x80\x02' + (b'}' if opcode == b'r' else b'') + opcode + struct.pack('<I', 2**31 - 1) + b'.'
        yield Tampered('size', f'{name} of 2 GiB', _archive(code), fails=opcode != b'r')
        yield Tampered('size', f'{name} of 2 GiB, legacy', _legacy(code), fails=opcode != b'r')
    for opcode, name in {b'\x8d': 'BINUNICODE8', b'\x8e': 'BINBYTES8', b'\x96': 'BYTEARRAY8'}.items():
        yield Tampered('size', f'{name} of 2**60', _archive(b'\x80\x04' + opcode + struct.pack('<Q', 2**60) + b'.'))
    for name in ('bytearray', '__builtin__ bytearray'):
        named = (name if ' ' in name else f'builtins {name}').replace(' ', '\n').encode()
        for size in (2**28, 2**40):
            code = b'\x80\x02}' + _text('x') + b'c' + named + b'\n' + pickle.dumps(size, 2)[2:-1] + b'\x85Rs.'
            yield Tampered('size', f'{name} of {size}', _archive(code))
    array = b'cnumpy\nndarray\n(' + b'\x8a\x06' + (2**40).to_bytes(6, 'little') + b't' + _text('b') + b'\x87R'
    for module in (b'numpy.core', b'numpy._core'):
        code = b'\x80\x02}' + _text('x') + b'c' + module + b'.multiarray\n_reconstruct\n' + array + b's.'
        yield Tampered('size', f'an array of 2**40 by {module.decode()}', _archive(code))
    yield Tampered('size', 'an array by ndarray itself', _archive(b'\x80\x02}' + _text('x') + array[:-2] + b'\x86Rs.'))
    content = _archive()
    for field, at in dict(directory=16, offset=12).items():
        changed = bytearray(content)
        struct.pack_into('<I', changed, len(content) - 22 + at, 2**32 - 2)
        yield Tampered('size', f'an archive whose {field} is at 4 GiB', bytes(changed))
    for field, at in dict(compressed=20, whole=24).items():
        changed = bytearray(content)
        for place in [k for k in range(len(content)) if content.startswith(b'PK\x01\x02', k)]:
            struct.pack_into('<I', changed, place + at, 2**31 - 1)
        yield Tampered('size', f'members whose {field} size is 2 GiB', bytes(changed))


def _safetensors() -> Iterator[Tampered]:
    def file(header: Any, data: bytes = bytes(16), length: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack('<Q', len(text) if length is None else length) + text + data

    def tensor(**changes: Any) -> dict:
        return dict(w=dict(dtype='F32', shape=[4], data_offsets=[0, 16]) | changes)

    for name, content in {
        'a header of 2**63': file(tensor(), length=2**63 - 1),
        'a header of 100 MB': file(tensor(), length=10**8),
        'a header that is no JSON': file(b'{no'),
        'a header with text for a tensor': file(b'{"w": "x"}'),
        'a header 10000 deep': file(b'{"w":' * 10000),
        'an unknown type': file(tensor(dtype='F31')),
        'a negative shape': file(tensor(shape=[-4])),
        'a shape of 2**62': file(tensor(shape=[2**62, 4])),
        'a shape of text': file(tensor(shape='four')),
        'offsets beyond the end': file(tensor(data_offsets=[0, 2**40])),
        'offsets the other way round': file(tensor(data_offsets=[16, 0])),
        'offsets that do not fit the shape': file(tensor(data_offsets=[0, 8])),
        'one offset': file(tensor(data_offsets=[0])),
        'tensors that overlap': file({**tensor(), 'v': tensor()['w']}),
        'data that no tensor has': file(tensor(), bytes(32)),
        'too little data': file(tensor(), bytes(8)),
    }.items():
        yield Tampered('safetensors', name, content)


def _structures() -> Iterator[Tampered]:
    """Files of harmless types alone that are no checkpoint."""
    values = dict(
        text='x', none=None, number=3, list=[1], tensor=torch.ones(1), numbers={1: 2}, mixed={1: torch.ones(1)}
    )
    for name, value in values.items():
        for place, put in _PLACES.items():
            if place not in ('whole', 'list', 'attribute', 'deep', 'top'):
                yield Tampered('structure', f'{name} as {place}', saved(put(whole(), value)), fails=False)
        for key in ('meta', 'message_hub', 'optimizer', 'model'):
            yield Tampered('structure', f'{name} in place of {key}', saved({**whole(), key: value}), fails=False)
        content = {'model': value}
        yield Tampered('structure', f'{name} alone', saved(content), fails=False)
