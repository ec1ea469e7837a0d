"""Files for other runtimes, run by them, against the network in torch."""

from __future__ import annotations

import copy
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS as DETECTORS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS as SEGMENTORS
from PIL import Image
from torch import nn

from mmiformer.errors import UserError
from mmiformer.export import RUNNABLE, RUNTIMES, Runtime, find_runtime, network_of, write
from mmiformer.export.executorch import split_depthwise
from mmiformer.export.networks import MEAN, STD
from mmiformer.export.replace import Converted, read_images, replace
from mmiformer.hub import get_config
from mmiformer.models import IFormer, IFormerClassifier
from mmiformer.models.classifier import load_classifier

from ..helpers import SHALLOW, randomize, relative_error
from ..left_out import needs_extra
from ..tools.command import REPO
from .here import HAS_EXECUTORCH, needs

needs_extra('exports')

RUN_HERE = [pytest.param(name, marks=needs(name)) for name in RUNNABLE]


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def exported(tmp_path, name, model, size, what='backbone', precision='fp32', calibration=(), **options):
    """The runtime's function, and its operators. The size is of an image, or crops stand there."""
    runtime = find_runtime(name)
    path = tmp_path / f'network{runtime.suffix}'
    network = network_of(model, what, **{**runtime.form, **options})
    x = image(*size) if isinstance(size, tuple) else size
    write(runtime, network, x, path, runtime.require(what, precision), calibration)
    assert not list(tmp_path.glob('.export-*'))
    return runtime.load(path, precision), runtime.operators(path)


@pytest.fixture(scope='module')
def backbone() -> IFormer:
    return randomize(IFormer(SHALLOW, window_size=4, num_chunks=4)).eval()


@pytest.mark.parametrize('name', RUN_HERE)
@torch.no_grad()
def test_maps_are_those_of_torch(name, tmp_path, backbone):
    run, kinds = exported(tmp_path, name, backbone, (72, 104))
    x = image(72, 104, seed=1)
    kept = run(x)
    run(2 * x)  # does not write over what was returned
    for output, expected in zip(kept, backbone(x), strict=True):
        assert output.dtype == torch.float32 and relative_error(output, expected) < 1e-5
    if name == 'executorch':
        assert kinds == {'delegate': 1}  # all of the network in one
    else:
        assert kinds['MatMul'] >= 6 and 'BatchNormalization' not in kinds


@pytest.mark.parametrize('name', RUN_HERE[1:])
@torch.no_grad()
def test_int8_is_near_and_needs_images(name, tmp_path, backbone):
    size = (64, 104)  # windows pad the width alone, which XNNPACK cuts off again
    with pytest.raises(UserError, match='int8 takes the ranges'):
        exported(tmp_path, name, backbone, size, precision='int8')
    samples = [image(*size, seed) for seed in range(4)]
    run, _ = exported(tmp_path, name, backbone, size, precision='int8', calibration=samples)
    for output, expected in zip(run(samples[0]), backbone(samples[0]), strict=True):
        error = (output - expected).square().mean().sqrt() / expected.square().mean().sqrt()
        assert 1e-4 < error < 0.1


@pytest.mark.parametrize('bias', [True, False])
@torch.no_grad()
def test_large_depthwise_convolutions_are_sums_for_executorch(bias):
    depthwise = partial(nn.Conv2d, 6, 6, groups=6, bias=bias)
    kernels = ((7, 7), (5, 5), (7, 5), (3, 11))
    module = nn.Sequential(*(depthwise(kernel) for kernel in kernels), nn.Conv2d(6, 8, 7, padding=3)).double()
    for conv in module:
        conv.padding = (conv.kernel_size[0] // 2, conv.kernel_size[1] // 2)
    split = split_depthwise(module)
    assert [type(part).__name__ for part in split] == ['Strips', 'Conv2d', 'Strips', 'Strips', 'Conv2d']
    assert [len(split[index].strips) for index in (0, 2, 3)] == [3, 2, 5]
    x = torch.randn(2, 6, 17, 23, dtype=torch.float64)
    assert relative_error(split(x), module(x)) < 1e-14
    assert all(type(part) is nn.Conv2d for part in module)


SIGNALS = """
import gc, signal, subprocess, sys, threading
from pathlib import Path
from mmiformer.export import find_runtime
loaded = [find_runtime('openvino').load(Path(sys.argv[1]), 'fp32')]
thread = threading.Thread(target=lambda: (loaded.clear(), gc.collect()))
thread.start()
thread.join()
signal.signal(signal.SIGCHLD, lambda *_: print('handled'))
subprocess.run(['true'], check=True)
"""


def test_signals_are_handled_after_openvino_let_go_of_a_file_in_another_thread(tmp_path, backbone):
    exported(tmp_path, 'openvino', backbone, (64, 64))
    done = subprocess.run(
        [sys.executable, '-c', SIGNALS, tmp_path / 'network.xml'], capture_output=True, text=True, cwd=REPO
    )
    assert (done.returncode, done.stdout) == (0, 'handled\n'), done.stderr


@torch.no_grad()
def test_both_heads_of_a_classifier_are_one(tmp_path):
    classifier = randomize(IFormerClassifier(SHALLOW, num_classes=7, distillation=True)).eval()
    torch.save(classifier.state_dict(), tmp_path / 'weights.pth')
    with pytest.raises(UserError):  # a network of one's own has no name to be found by
        load_classifier(str(tmp_path / 'weights.pth'))
    x = image(64, 64)
    run, _ = exported(tmp_path, 'onnx', classifier, (64, 64), 'classifier')
    [logits] = run(x)
    assert relative_error(logits, classifier(x)) < 1e-5


def segmentor() -> torch.nn.Module:
    config = get_config('sem_fpn/iformer_m_40k.py').model
    config.backbone = dict(type='mmiformer.IFormer', arch=SHALLOW, window_size=4)
    config.neck.in_channels = list(SHALLOW['channels'])
    config.decode_head.norm_cfg = dict(type='BN')
    init_default_scope('mmseg')
    return randomize(SEGMENTORS.build(config)).eval()


@torch.no_grad()
def test_segmentor_from_image_to_label_map(tmp_path):
    model = segmentor()
    pixels = torch.randint(0, 256, (1, 3, 72, 104), generator=torch.Generator().manual_seed(0)).float()
    runtime = find_runtime('onnx')
    network = network_of(model, 'segmentor', image=True, about=dict(weights='random'), **runtime.form)
    write(runtime, network, pixels, tmp_path / 'segmentor.onnx', 'fp32')
    [labels] = runtime.load(tmp_path / 'segmentor.onnx', 'fp32')(pixels)
    preprocessor = model.data_preprocessor
    logits = model.encode_decode((pixels - preprocessor.mean) / preprocessor.std, [dict(img_shape=(72, 104))])
    logits = torch.nn.functional.interpolate(logits, (72, 104), mode='bilinear')
    assert labels.shape == (1, 72, 104) and labels.unique().numel() > 1
    assert (labels == logits.argmax(1)).float().mean() > 0.999
    import onnx

    [prop] = onnx.load(tmp_path / 'segmentor.onnx').metadata_props
    assert (prop.key, prop.value) == ('weights', 'random')


@pytest.mark.parametrize('name', RUN_HERE)
@torch.no_grad()
def test_replaced_segmentor_at_any_size(name):
    model = segmentor()
    other = copy.deepcopy(model)
    replace(other, find_runtime(name), 'fp32')
    assert isinstance(other.backbone, Converted) and not other.with_neck
    for size in ((72, 104), (64, 96), (72, 104), (60, 100), (47, 81), (96, 65)):
        x = image(*size)
        metas = [dict(img_shape=size)]
        assert relative_error(other.encode_decode(x, metas), model.encode_decode(x, metas)) < 1e-5
    assert other.backbone.load.cache_info().misses == 5


@torch.no_grad()
def test_detector_up_to_its_proposals(tmp_path):
    config = get_config('mask_rcnn/iformer_m_1x.py').model
    config.backbone = dict(type='mmiformer.IFormer', arch=SHALLOW, window_size=4)
    config.neck.in_channels = list(SHALLOW['channels'])
    init_default_scope('mmdet')
    model = randomize(DETECTORS.build(config)).eval()
    x = image(64, 96)
    run, _ = exported(tmp_path, 'onnx', model, (64, 96), 'detector')
    maps = model.extract_feat(x)
    expected = (*maps, *sum(model.rpn_head(maps), []))
    for output, wanted in zip(run(x), expected, strict=True):
        assert relative_error(output, wanted) < 1e-5
    replace(model, find_runtime('onnx'), 'fp32')
    assert all(relative_error(*pair) < 1e-5 for pair in zip(model.extract_feat(x), maps, strict=True))
    with pytest.raises(UserError, match='no IFormer'):
        replace(model, find_runtime('onnx'), 'fp32')


@pytest.mark.parametrize('name', ['onnx', 'openvino'])
@torch.no_grad()
def test_detector_and_its_heads_are_the_whole(name, tmp_path):
    """What mmdet does between three files, choosing proposals and cutting them out, makes of them the same objects."""
    config = get_config('mask_rcnn/iformer_m_1x.py').model
    config.backbone = dict(type='mmiformer.IFormer', arch=SHALLOW, window_size=4)
    config.neck.update(in_channels=list(SHALLOW['channels']), out_channels=16)
    config.rpn_head.update(in_channels=16, feat_channels=16)
    heads = config.roi_head
    for part in (heads.bbox_roi_extractor, heads.mask_roi_extractor):
        part.out_channels = 16
    heads.bbox_head.update(in_channels=16, fc_out_channels=16)
    heads.mask_head.update(in_channels=16, conv_out_channels=16)
    config.test_cfg.rcnn.update(score_thr=0.0, max_per_img=10)
    init_default_scope('mmdet')
    model = randomize(DETECTORS.build(config)).eval()
    torch.manual_seed(0)
    for part in [*model.rpn_head.parameters(), *model.roi_head.parameters()]:
        if part.dim() > 1:
            part.normal_(0, 0.7 / part[0].numel() ** 0.5)  # else all objects are alike
    x, sample = image(64, 96), DetDataSample(metainfo=dict(img_shape=(64, 96), ori_shape=(64, 96), scale_factor=(1, 1)))
    [expected] = model.predict(x, [copy.deepcopy(sample)], rescale=False)
    crops = [network_of(model, what).cut(x) for what in ('box_head', 'mask_head')]
    assert [tuple(each.shape[1:]) for each in crops] == [(16, 7, 7), (16, 14, 14)]
    whole, box, mask = (
        exported(tmp_path / what, name, model, size, what)[0]
        for what, size in zip(('detector', 'box_head', 'mask_head'), ((64, 96), *crops), strict=True)
    )
    maps = whole(x)
    model.extract_feat = lambda x: maps[:5]
    model.rpn_head.forward = lambda _: (maps[5:10], maps[10:])
    model.roi_head.bbox_head.forward = box
    model.roi_head.mask_head.forward = lambda crops: mask(crops)[0]
    [found] = model.predict(x, [sample], rescale=False)
    found, expected = found.pred_instances, expected.pred_instances
    assert len(expected) == 10 and found.labels.equal(expected.labels)
    assert relative_error(found.bboxes, expected.bboxes) < 1e-4 and relative_error(found.scores, expected.scores) < 1e-4
    assert (found.masks != expected.masks).float().mean() < 1e-3
    with pytest.raises(UserError, match='no image'):
        network_of(model, 'box_head', image=True)


def test_what_there_is_not(monkeypatch, tmp_path, backbone):
    missing = {'web'} | (set() if HAS_EXECUTORCH else {'executorch', 'executorch-coreml'})  # web's is ONNX, and npm
    for name in RUNTIMES.keys() - missing:
        runtime = find_runtime(name)
        assert runtime.require('backbone', None) == runtime.precisions[0]
        monkeypatch.setattr(type(runtime), 'modules', ('no_such_package',))
        extras = ','.join(runtime.extras)
        with pytest.raises(UserError, match=rf"no_such_package.*pip install 'mmiformer\[{extras}\]'"):
            runtime.require('backbone', None)
    monkeypatch.setattr('sys.version_info', (3, 12, 1))
    with pytest.raises(UserError, match='no_such_package.*Python 3.11 and 3.13 alone'):
        find_runtime('executorch').require('backbone', None)
    with pytest.raises(UserError, match='executorch has no --what detector in fp32. What there is:\n  --to '):
        find_runtime('executorch').require('detector', None)
    with pytest.raises(UserError, match='onnx has no --what backbone in int8'):
        find_runtime('onnx').require('backbone', 'int8')
    with pytest.raises(UserError, match='--what classifier: IFormer is or has none'):
        network_of(backbone, 'classifier')
    with pytest.raises(UserError, match='holds no .jpg'):
        read_images(tmp_path, 64, 64)


def test_images_for_calibration_are_in_the_range_of_the_input(tmp_path):
    """A network that takes RGB images from 0 to 255 normalizes them itself."""
    Image.new('RGB', (48, 32), (255, 0, 100)).save(tmp_path / 'a.png')
    (raw,), (normalized,) = (read_images(tmp_path, 64, 96, image=image) for image in (True, False))
    assert raw.shape == normalized.shape == (1, 3, 64, 96) and raw.dtype == normalized.dtype == torch.float32
    assert raw[0, :, 5, 7].tolist() == [255, 0, 100]
    expected = [(value - mean) / std for value, mean, std in zip((255, 0, 100), MEAN, STD, strict=True)]
    assert normalized[0, :, 5, 7].tolist() == pytest.approx(expected, rel=1e-5)


def test_old_package_stays_until_the_new_one_stands(monkeypatch, tmp_path):
    """Core ML's packages are folders, which cannot be replaced at once."""
    target = tmp_path / 'network.mlpackage'
    target.mkdir()
    (target / 'old').touch()

    class Failing(Runtime):
        def convert(self, network, image, path, precision, calibration=()):
            path.mkdir()
            (path / 'new').touch()
            if precision == 'none':
                raise UserError('cannot convert it')

    with pytest.raises(UserError, match='cannot convert it'):
        write(Failing(), None, None, target, 'none')
    assert [path.name for path in target.iterdir()] == ['old']
    rename = Path.rename

    def fail_for_the_new(self, to):
        if (self / 'new').exists():
            raise OSError('no space left')
        return rename(self, to)

    with monkeypatch.context() as patch, pytest.raises(OSError, match='no space left'):
        patch.setattr(Path, 'rename', fail_for_the_new)
        write(Failing(), None, None, target, 'fp32')
    assert [path.name for path in target.iterdir()] == ['old']
    write(Failing(), None, None, target, 'fp32')
    assert [path.name for path in target.iterdir()] == ['new'] and len(list(tmp_path.iterdir())) == 1
