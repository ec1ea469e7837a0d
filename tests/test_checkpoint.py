"""Weight files: what is read, what is refused, where they come from."""

import argparse
import collections
import io
import json
import os
import pickle
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.fileio.backends.registry_utils import backends
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from torch.utils.data import DataLoader

from mmiformer import checkpoint
from mmiformer.download import name_of
from mmiformer.errors import MissingFile, UserError
from mmiformer.published import PUBLISHED, Published

from .http_server import Server, running
from .tampered import Call, Stranger, forbidden

WEIGHTS = {'a.weight': torch.arange(6.0).reshape(2, 3), 'a.count': torch.tensor(3)}


def same(one: dict, other: dict) -> bool:
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of downloads, in the place of torch's."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    return tmp_path / 'hub' / 'checkpoints'


@pytest.fixture
def schemes(monkeypatch):
    """MMEngine's loaders, put back after the test."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))


both = pytest.mark.usefixtures('unpickler')
own = pytest.mark.skipif(not hasattr(torch.serialization, 'add_safe_globals'), reason='torch below 2.6 takes no list')

# --- what is read


@both
@pytest.mark.parametrize('zipped', [True, False])
def test_reads_torch_files(tmp_path, zipped):
    torch.save(WEIGHTS, tmp_path / 'w.pth', _use_new_zipfile_serialization=zipped)
    assert same(checkpoint.load(tmp_path / 'w.pth'), WEIGHTS)


def released_imagenet_file(path):
    """A file like the released ones of ImageNet."""
    args = argparse.Namespace(model='iformer_m', lr=4e-3, best=np.float64(80.4), epochs=np.int64(300), ema=np.bool_(0))
    torch.save({'model': WEIGHTS, 'args': args, 'max_accuracy': np.float32(80.5), 'steps': np.arange(3)}, path)
    return args


def rename_modules(path, old: bytes, new: bytes) -> int:
    """Rename a module in a file's pickle, as another version of its package would have written it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    data = next(name for name in members if name.endswith('data.pkl'))
    count = members[data].count(b'c' + old)
    members[data] = members[data].replace(b'c' + old, b'c' + new)
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return count


@both
def test_reads_released_imagenet_files_of_either_numpy(tmp_path):
    path = tmp_path / 'iFormer_m.pth'
    args = released_imagenet_file(path)
    contents = [checkpoint.load(path)]
    ours, other = b'numpy._core.', b'numpy.core.'
    if np.lib.NumpyVersion(np.__version__) < '2.0.0':
        ours, other = other, ours
    assert rename_modules(path, ours, other) > 0
    contents.append(checkpoint.load(path))
    for content in contents:
        assert same(content['model'], WEIGHTS)
        assert content['args'] == args
        assert content['max_accuracy'] == np.float32(80.5)
        assert content['steps'].tolist() == [0, 1, 2]


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(16, 1)

    def forward(self, inputs, mode):
        return dict(loss=self.layer(torch.stack(inputs)).square().mean())


def toy_runner(work_dir, iterations: int, **options) -> Runner:
    runner = Runner(
        Toy(),
        str(work_dir),
        train_dataloader=DataLoader(list(torch.eye(16)), batch_size=2, collate_fn=lambda batch: dict(inputs=batch)),
        train_cfg=dict(by_epoch=False, max_iters=iterations),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=9)],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False)),
        experiment_name=f'toy_{work_dir}_{iterations}'.replace('/', '_'),
        log_level='ERROR',
        **options,
    )
    runner.train()
    return runner


@both
def test_reads_and_resumes_checkpoints_of_the_runner(tmp_path, schemes, monkeypatch):
    first = toy_runner(tmp_path, 2)
    path = tmp_path / 'iter_2.pth'
    content = checkpoint.load(path)
    assert {'meta', 'state_dict', 'message_hub', 'optimizer', 'param_schedulers'} <= set(content)
    assert same(content['state_dict'], first.model.state_dict())
    histories = content['message_hub']['log_scalars']
    assert histories and all(type(history) is HistoryBuffer for history in histories.values())
    assert histories['train/loss'].mean() == first.message_hub.get_scalar('train/loss').mean()

    unsafe = []
    monkeypatch.setattr(  # of the fork alone
        'mmengine.runner.checkpoint._safe_torch_load', lambda *args, **kwargs: unsafe.append(args), raising=False
    )
    checkpoint.use_in_mmengine()
    resumed = toy_runner(tmp_path, 4, load_from=str(path), resume=True)
    straight = toy_runner(tmp_path / 'straight', 4)
    assert resumed.iter == 4
    assert not unsafe
    assert len(resumed.message_hub.get_scalar('train/loss').data[0]) == 4
    assert resumed.optim_wrapper.get_lr() == straight.optim_wrapper.get_lr()


def test_reads_and_writes_safetensors(tmp_path):
    for name in ('w.safetensors', 'w.pth', 'w.pt'):
        checkpoint.save(WEIGHTS, tmp_path / name)
        assert same(dict(sorted(checkpoint.load(tmp_path / name).items())), dict(sorted(WEIGHTS.items())))
    with (tmp_path / 'w.safetensors').open('rb') as file:
        assert file.read(9)[8:] == b'{'
    assert len(list(tmp_path.iterdir())) == 3


def test_safetensors_without_the_package(tmp_path, monkeypatch):
    checkpoint.save(WEIGHTS, tmp_path / 'w.safetensors')
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    with pytest.raises(UserError, match='pip install safetensors'):
        checkpoint.load(tmp_path / 'w.safetensors')


def test_other_endings_are_not_written(tmp_path):
    with pytest.raises(ValueError, match=r'w\.bin.*\.pth, \.pt or \.safetensors'):
        checkpoint.save(WEIGHTS, tmp_path / 'w.bin')


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / 'w.pth').write_bytes(b'before')
    with pytest.raises(AttributeError):
        checkpoint.save({'function': lambda: None}, tmp_path / 'w.pth')
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'before']


# --- what is refused


@both
@pytest.mark.parametrize('name', list(forbidden()))
@pytest.mark.parametrize('zipped', [True, False])
def test_refuses_what_could_run_code(tmp_path, monkeypatch, name, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save({'model': WEIGHTS, 'x': forbidden()[name]}, 'w.pth', _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError) as caught:
        checkpoint.load('w.pth')
    message = str(caught.value)
    assert name in message and 'w.pth is refused' in message
    assert '--trust-checkpoint' in message and 'trust=True' in message
    assert not os.path.exists('ran')


@both
def test_refuses_formats_that_torch_reads_by_other_ways(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.jit.script(torch.nn.Linear(1, 1)).save('script.pth')
    with tarfile.open('tar.pth', 'w') as archive:  # as torch 0.1 wrote them
        for name in ('\udc80first', 'storages', 'tensors', 'pickle'):
            archive.addfile(tarfile.TarInfo(name))
    for name in ('script.pth', 'tar.pth'):
        with pytest.raises(UserError, match=f'{name} '):
            checkpoint.load(name)


@both
def test_a_tensor_longer_than_its_values(tmp_path):
    path = tmp_path / 'w.pth'
    torch.save({'a': torch.ones(1000)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content[:400] if name.endswith('data/0') else content)
    with pytest.raises(UserError, match='w.pth '):
        checkpoint.load(path)


@both
def test_a_huge_size_takes_no_memory(tmp_path):
    path = tmp_path / 'w.pth'
    torch.save({'a': 0}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            huge = b'\x80\x05' + pickle.BYTEARRAY8 + (2**50).to_bytes(8, 'little') + b'.'
            archive.writestr(name, huge if name.endswith('data.pkl') else content)
    with pytest.raises(UserError, match='w.pth .*cannot be read|is refused'):
        checkpoint.load(path)


@own
def test_what_other_libraries_allow_is_refused_all_the_same(tmp_path):
    torch.save({'x': Call(getattr, HistoryBuffer, '__init__'), 'y': Stranger()}, tmp_path / 'w.pth')
    with torch.serialization.safe_globals([getattr, Stranger]):
        before = set(torch.serialization.get_safe_globals())
        assert getattr in before
        with pytest.raises(ValueError, match='is refused'):
            checkpoint.load(tmp_path / 'w.pth')
        assert set(torch.serialization.get_safe_globals()) == before


@own
def test_the_list_of_types_ends_with_the_call(tmp_path):
    released_imagenet_file(tmp_path / 'w.pth')
    checkpoint.load(tmp_path / 'w.pth')
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


def test_trust_unpickles_everything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'x': forbidden()['eval']}, 'w.pth')
    checkpoint.load('w.pth', trust=True)
    assert os.path.exists('ran')


@both
def test_cut_off_files(tmp_path):
    contents = {'zip': io.BytesIO(), 'legacy': io.BytesIO()}
    torch.save(WEIGHTS, contents['zip'])
    torch.save(WEIGHTS, contents['legacy'], _use_new_zipfile_serialization=False)
    checkpoint.save(WEIGHTS, tmp_path / 'whole.safetensors')
    contents['safetensors'] = io.BytesIO((tmp_path / 'whole.safetensors').read_bytes())
    for name, content in contents.items():
        content = content.getvalue()
        path = tmp_path / name
        for length in range(0, len(content), len(content) // 30):
            path.write_bytes(content[:length])
            with pytest.raises(ValueError, match=f'{name} .*(fetch it again|is refused)'):
                checkpoint.load(path)
        path.write_bytes(content)
        assert len(checkpoint.load(path)) == len(WEIGHTS)


def test_a_web_page_is_called_one(tmp_path):
    (tmp_path / 'w.pth').write_text('<!DOCTYPE html><html>Sign in</html>')
    with pytest.raises(ValueError, match=r'w\.pth \(35 bytes\).*web page.*fetch it again'):
        checkpoint.load(tmp_path / 'w.pth')


def test_a_missing_device_is_no_fault_of_the_file(tmp_path):
    torch.save(WEIGHTS, tmp_path / 'w.pth')
    with pytest.raises(Exception) as caught:
        checkpoint.load(tmp_path / 'w.pth', map_location='cuda:99')
    assert 'cannot be read' not in str(caught.value)


def test_missing_files(tmp_path):
    for source in (tmp_path / 'none.pth', 'iFormer_xl.pth', tmp_path):
        with pytest.raises(FileNotFoundError) as caught:
            checkpoint.load(source)
        assert str(source) in str(caught.value) and 'iFormer_m_distill.pth' in str(caught.value)
    assert 'a folder' in str(caught.value)


# --- where they come from


def test_table_of_published_files():
    tasks = collections.Counter(file.task for file in PUBLISHED.values())
    assert tasks == dict(imagenet=16, coco=3, ade20k=3)
    for name, file in PUBLISHED.items():
        assert file.name == name
        assert file.urls and all(url.startswith('https://') for url in file.urls)
        assert len(file.urls) == 2 or name.endswith('.safetensors')
        assert [name_of(url) for url in file.urls] == [name] * len(file.urls)
    assert len({url for file in PUBLISHED.values() for url in file.urls}) == 14 * 2 + 8


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    content = io.BytesIO()
    torch.save(WEIGHTS, content)
    with running(Server({'/mirror/w.pth': content.getvalue()})) as server:
        yield server


@pytest.fixture
def published(server, monkeypatch):
    urls = (f'{server.base_url}/releases/w.pth', f'{server.base_url}/mirror/w.pth')
    file = Published('w.pth', 'imagenet', 'm', urls, False, {})
    monkeypatch.setattr(checkpoint, 'PUBLISHED', {'w.pth': file})
    return file


@pytest.mark.parametrize('asked', ['w.pth', 'first', 'second'])
def test_a_published_file_by_its_name_and_by_each_url(server, published, cache, asked):
    source = dict(first=published.urls[0], second=published.urls[1]).get(asked, asked)
    assert same(checkpoint.load(source), WEIGHTS)
    paths = [url.removeprefix(server.base_url) for url in published.urls]
    assert list(dict.fromkeys(server.requests)) == (paths[1:] if asked == 'second' else paths)
    assert (cache / 'w.pth').is_file()


def test_fetches_any_url(server, cache):
    assert same(checkpoint.load(f'{server.base_url}/mirror/w.pth'), WEIGHTS)
    assert (cache / 'w.pth').is_file()


def test_takes_a_file_put_there_by_hand(server, published, cache):
    cache.mkdir(parents=True)
    torch.save({'b': torch.ones(1)}, cache / 'w.pth')
    assert list(checkpoint.load('w.pth')) == ['b']
    assert not server.requests


def test_a_file_that_cannot_be_fetched(server, published, cache):
    server.content.clear()
    with pytest.raises(MissingFile) as caught:
        checkpoint.load('w.pth')
    for part in (*published.urls, str(cache / 'w.pth'), '404'):
        assert part in str(caught.value)


# --- MMEngine's schemes


@pytest.fixture
def zoo(server, tmp_path, monkeypatch):
    """MMEngine's zoo with one more model, by the file in which MMEngine lets users name theirs."""
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    (tmp_path / 'open_mmlab.json').write_text(json.dumps({'own/w': f'{server.base_url}/mirror/w.pth'}))


def test_every_scheme_of_mmengine_goes_through_our_loader(schemes):
    checkpoint.use_in_mmengine()
    assert len(CheckpointLoader._schemes) >= 11
    assert {loader.__module__ for loader in CheckpointLoader._schemes.values()} == {'mmiformer.checkpoint'}


@pytest.mark.parametrize('scheme', ['open-mmlab', 'openmmlab'])
def test_a_model_of_openmmlabs_zoo(schemes, zoo, cache, scheme):
    checkpoint.use_in_mmengine()
    assert same(CheckpointLoader.load_checkpoint(f'{scheme}://own/w'), WEIGHTS)
    assert (cache / 'w.pth').is_file()


def test_deprecated_names_of_openmmlabs_zoo(zoo, cache):
    cache.mkdir(parents=True)
    torch.save(WEIGHTS, cache / 'resnet50_caffe-788b5fa3.pth')  # of detectron/resnet50_caffe
    assert same(checkpoint.load('open-mmlab://resnet50_caffe'), WEIGHTS)


def test_a_backbone_of_a_classifier(schemes, cache):
    """MMEngine gives the backbone's weights alone, and with other keys."""
    cache.mkdir(parents=True)
    weights = {f'backbone.{key}': tensor for key, tensor in WEIGHTS.items()}
    torch.save(
        {'state_dict': {**weights, 'head.fc.weight': torch.ones(1)}},
        cache / 'vgg11_batch256_imagenet_20210208-4271cd6c.pth',
    )
    checkpoint.use_in_mmengine()
    assert same(CheckpointLoader.load_checkpoint('mmcls://vgg11')['state_dict'], WEIGHTS)


@pytest.mark.parametrize('scheme', ['torchvision', 'modelzoo'])
def test_a_model_of_torchvisions_zoo(schemes, cache, monkeypatch, scheme):
    monkeypatch.setitem(checkpoint._ZOOS, scheme, lambda: {'resnet50': 'https://host/resnet50-1.pth'})
    cache.mkdir(parents=True)
    torch.save(WEIGHTS, cache / 'resnet50-1.pth')
    checkpoint.use_in_mmengine()
    assert same(CheckpointLoader.load_checkpoint(f'{scheme}://resnet50'), WEIGHTS)


def test_models_that_no_zoo_has(zoo, monkeypatch):
    with pytest.raises(UserError, match='openmmlab:// has no such model; near it are .*vgg16_caffe'):
        checkpoint.load('openmmlab://vgg16_cafe')
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    with pytest.raises(UserError, match='torchvision://resnet50: .*torchvision.* Install torchvision, or give the URL'):
        checkpoint.load('torchvision://resnet50')


def test_remote_storage(schemes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Storage(LocalBackend):
        """Petrel without its client: the bucket is a folder here."""

        def get_local_path(self, filepath):
            return super().get_local_path(str(tmp_path / filepath.partition('://')[2]))

    monkeypatch.setitem(backends, 'petrel', Storage)
    torch.save(WEIGHTS, 'good.pth')
    torch.save({'x': forbidden()['eval']}, 'bad.pth')
    checkpoint.use_in_mmengine()
    for prefix in ('s3://', 'petrel://', 'cluster:s3://'):
        assert same(CheckpointLoader.load_checkpoint(f'{prefix}good.pth'), WEIGHTS)
        with pytest.raises(UserError, match='is refused'):
            CheckpointLoader.load_checkpoint(f'{prefix}bad.pth')
    with pytest.raises(MissingFile, match='pavi://model'):
        CheckpointLoader.load_checkpoint('pavi://model')
    assert not os.path.exists('ran')


@pytest.mark.parametrize('source', ['open-mmlab://own/w', 'file', 'url'])
def test_no_scheme_runs_code(server, schemes, zoo, cache, tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    torch.save({'x': forbidden()['eval']}, 'w.pth')
    server.content = {'/mirror/w.pth': (tmp_path / 'w.pth').read_bytes()}
    source = dict(file='w.pth', url=f'{server.base_url}/mirror/w.pth').get(source, source)
    checkpoint.use_in_mmengine()
    with pytest.raises(UserError, match='is refused'):
        CheckpointLoader.load_checkpoint(source)
    assert not os.path.exists('ran')
    checkpoint.use_in_mmengine(trust=True)
    CheckpointLoader.load_checkpoint(source)
    assert os.path.exists('ran')


@pytest.mark.skipif(not hasattr(torch.serialization, 'set_crc32_options'), reason='torch always computes them')
def test_a_file_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(dict(model=dict(x=torch.arange(9))), tmp_path / 'w.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    assert checkpoint.load(tmp_path / 'w.pth')['model']['x'].tolist() == list(range(9))


@pytest.mark.parametrize('trust', [False, True])
def test_another_byte_among_the_weights(tmp_path, trust):
    """torch itself does not look at its checksums."""
    path, weights = tmp_path / 'w.pth', torch.arange(9.0)
    torch.save(dict(model=dict(x=weights)), path)
    path.write_bytes(path.read_bytes().replace(weights.numpy().tobytes(), (weights + 1).numpy().tobytes()))
    assert torch.load(path)['model']['x'][0] == 1
    with pytest.raises(UserError, match=r'w\.pth .* cannot be read: the checksum of .*data/0 is wrong'):
        checkpoint.load(path, trust=trust)
