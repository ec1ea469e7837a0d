"""Weights of every layout load strictly on every path, and what does not fit is an error."""

import copy

import mmengine.runner
import pytest
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmiformer import checkpoint
from mmiformer.errors import UserError
from mmiformer.hub import get_config
from mmiformer.models import IFormer, IFormerClassifier
from mmiformer.models import loading as module
from mmiformer.models.arch import ARCHS
from mmiformer.models.layouts import LAYOUTS, arch_fields, convert, find_arch, rename

from ..parity import CLASSIFIERS, detector_file, released, shapes_alone


class Detector(BaseModule):
    """What the loading of a detector comes down to: a backbone beside other parts."""

    def __init__(self, **backbone):
        super().__init__()
        self.backbone = IFormer(**dict(dict(arch='t'), **backbone))
        self.neck = nn.Linear(2, 2)
        self.rpn_head = nn.Linear(2, 2)


def holds(backbone: nn.Module, name: str = 'cls_t') -> bool:
    """Whether a backbone has the released weights, all of them."""
    tensors = rename(backbone.state_dict(), 'mmiformer', 'released')
    return all(torch.equal(tensor, released(name)[key]) for key, tensor in tensors.items()) and len(tensors) > 100


@pytest.mark.parametrize(
    'tensor',
    [
        torch.eye(3).to_sparse(),
        torch.eye(3).to_sparse_csr(),
        torch.ones(3, 3, device='meta'),
        torch.ones(3, 3, dtype=torch.complex64),
        torch.quantize_per_tensor(torch.ones(3, 3), 0.1, 0, torch.qint8),
    ],
    ids=['sparse', 'compressed', 'without values', 'complex', 'quantized'],
)
def test_tensors_that_are_no_weights(tensor):
    """torch fails on some of them and leaves others out in silence."""
    whole = dict(b=torch.ones(3), c=torch.ones(1).expand(3))
    assert module.state_dict_of(whole).keys() == whole.keys()
    with pytest.raises(UserError, match='1 of the 3 weights in the file are .*: a. Save'):
        module.state_dict_of(dict(state_dict=dict(whole, a=tensor)))


# --- every layout on every path


def files(folder) -> dict:
    """{name: path} of one backbone's weights in every kind of file there is."""
    ours = convert(released('cls_t'), 'mmiformer')
    contents = {
        'released ImageNet.pth': {'model': released('cls_t'), 'epoch': 300},
        'released COCO.pth': {'state_dict': detector_file(), 'meta': {}},
        'own classifier.pth': ours,
        'own detector.pth': {'state_dict': convert(detector_file(), 'mmiformer')},
        'own backbone.pth': {key[9:]: tensor for key, tensor in ours.items() if key.startswith('backbone.')},
        'data-parallel.pth': {'state_dict': {f'module.{key}': tensor for key, tensor in detector_file().items()}},
        'timm.pth': convert(released('cls_t'), 'timm'),
        'timm.safetensors': convert(released('cls_t'), 'timm'),
    }
    for name, content in contents.items():
        checkpoint.save(content, folder / name)
    return {name: folder / name for name in contents}


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    return files(tmp_path_factory.mktemp('files'))


NAMES = ('released ImageNet.pth', 'released COCO.pth', 'own classifier.pth', 'own detector.pth', 'own backbone.pth')
NAMES += ('data-parallel.pth', 'timm.pth', 'timm.safetensors')


@pytest.mark.parametrize('name', NAMES)
def test_init_cfg_finds_the_backbone(published, name):
    detector = Detector(init_cfg=dict(type='Pretrained', checkpoint=str(published[name])))
    before = copy.deepcopy(detector.neck.state_dict())
    detector.backbone.init_weights()
    assert holds(detector.backbone)
    assert all(torch.equal(tensor, before[key]) for key, tensor in detector.neck.state_dict().items())


@pytest.mark.parametrize('name', ['released ImageNet.pth', 'own classifier.pth', 'timm.pth', 'timm.safetensors'])
def test_init_cfg_of_the_classifier(published, name):
    classifier = IFormerClassifier('t', init_cfg=dict(type='Pretrained', checkpoint=str(published[name])))
    classifier.init_weights()
    assert all(
        torch.equal(value, released('cls_t')[key])
        for key, value in convert(classifier.state_dict(), 'released').items()
    )


@pytest.mark.parametrize('layout', LAYOUTS)
def test_whole_detectors_load(layout):
    file = convert(detector_file(), layout)
    for load in (
        lambda detector: detector.load_state_dict(file),
        lambda detector: mmengine.runner.checkpoint.load_state_dict(detector, file, strict=True),
    ):
        detector = Detector()
        load(detector)
        assert holds(detector.backbone)
        assert torch.equal(detector.rpn_head.weight, file['rpn_head.weight'])
    assert 'neck.bias' in file and len(file) == len(detector_file())  # the caller's dict is as it was


@pytest.mark.parametrize('config', ['mask_rcnn/iformer_m_1x', 'sem_fpn/iformer_m_40k'])
def test_released_detectors_and_segmentors_load_whole(tmp_path, config):
    """Keys and shapes of the backbone are the released ones, those of neck and heads are the toolbox's."""
    cfg = get_config(config)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    file = {f'backbone.{key}': tensor for key, tensor in released('dense_m').items()}
    file |= {key: value + 1 for key, value in model.state_dict().items() if not key.startswith('backbone.')}
    checkpoint.save({'state_dict': file, 'meta': {}}, tmp_path / 'w.pth')
    mmengine.runner.load_checkpoint(model, str(tmp_path / 'w.pth'), 'cpu', strict=True)
    assert holds(model.backbone, 'dense_m')
    others = [key for key in file if not key.startswith('backbone.')]
    assert len(others) > 20 and all(torch.equal(model.state_dict()[key], file[key]) for key in others)


def test_a_copied_network_loads_into_itself():
    detector = Detector()
    other = copy.deepcopy(detector)
    other.load_state_dict(detector_file())
    assert holds(other.backbone) and not holds(detector.backbone)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_stages_that_are_not_built_are_left_aside(layout):
    for last in range(4):
        backbone = IFormer('t', out_indices=(last,))
        full = {key: tensor for key, tensor in released('cls_t').items() if not key.startswith('classifier.')}
        backbone.load_state_dict(rename(full, 'released', layout))
        tensors = rename(backbone.state_dict(), 'mmiformer', 'released')
        assert all(torch.equal(tensor, full[key]) for key, tensor in tensors.items())


@pytest.mark.parametrize('layout', LAYOUTS)
def test_batch_counters_may_be_missing(layout):
    full = {key: tensor for key, tensor in released('cls_t').items() if not key.startswith('classifier.')}
    old = {key: tensor for key, tensor in full.items() if not key.endswith('num_batches_tracked')}
    assert len(old) < len(full)
    backbone = IFormer('t')
    backbone.load_state_dict(rename(old, 'released', layout))
    assert holds(backbone)


# --- misfits


def broken(kind: str, layout: str) -> tuple[dict, str]:
    """A detector's file with one fault, and the key in our layout that it is about."""
    file = convert(detector_file(), layout)
    ours = dict(zip(convert(file, 'mmiformer'), file, strict=True))
    key = 'stages.2.blocks.7.q.conv.weight'
    name = ours[f'backbone.{key}']
    if kind == 'missing':
        del file[name]
    elif kind == 'of another shape':
        file[name] = torch.zeros(3, 3, 1, 1)
    else:
        file[name.replace('.q.', '.qq.')] = torch.zeros(1)
        key = name.replace('.q.', '.qq.').removeprefix('backbone.')
    return file, key


@pytest.mark.parametrize('kind', ['missing', 'of another shape', 'unexpected'])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_misfit_is_an_error_on_every_path(tmp_path, kind, layout):
    file, key = broken(kind, layout)
    checkpoint.save({'state_dict': file}, tmp_path / 'w.pth')
    detector = Detector(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'w.pth')))
    for load in (
        lambda: detector.load_state_dict(file),
        lambda: detector.load_state_dict(file, strict=False),
        lambda: mmengine.runner.checkpoint.load_state_dict(detector, file, strict=False),
        lambda: mmengine.runner.load_checkpoint(detector, str(tmp_path / 'w.pth'), 'cpu', strict=False),
        detector.backbone.init_weights,
    ):
        with pytest.raises(ValueError) as caught:
            load()
        message = str(caught.value)
        assert key in message and repr(layout) in message and '1 (' in message
        assert kind in message or (kind == 'unexpected' and 'neither an iFormer backbone nor a known head' in message)


def test_messages_name_the_first_keys_and_how_many_there_are():
    file = released('dense_m')
    file |= {f'extra.{i}.weight': torch.zeros(1) for i in range(9)}
    with pytest.raises(ValueError, match=r'9 \(extra\.0\.weight, extra\.1\.weight, .*\.\.\.\) of 549 keys are neither'):
        IFormer('m').load_state_dict(file)


@pytest.mark.parametrize('found', CLASSIFIERS)
@pytest.mark.parametrize('layout', LAYOUTS)
def test_the_variant_is_recognized_by_its_shapes(found, layout):
    arch = found.split('_')[1]
    tensors = shapes_alone(found)
    weights = rename(tensors, 'released', 'mmiformer')
    fields = arch_fields(weights)
    assert fields == {key: value for key, value in ARCHS[arch]._asdict().items() if key in fields}
    assert len(fields) == 8 and find_arch(weights) == arch
    wrong = IFormer('s' if arch == 't' else 't')
    with pytest.raises(
        ValueError, match=f"weights are of arch='{arch}', this network is arch='{'s' if arch == 't' else 't'}'"
    ):
        file = {key: tensor for key, tensor in tensors.items() if not key.startswith('classifier.')}
        wrong.load_state_dict(rename(file, 'released', layout))


def test_a_network_of_ones_own_is_described():
    arch = dict(ARCHS['t']._asdict(), triples=(0, 0, 1, 2))
    own = IFormer(arch).state_dict()
    with pytest.raises(ValueError, match=r"weights are of arch=\{'stem_channels': 16, .*'triples': \(0, 0, 1, 2\)"):
        IFormer('t').load_state_dict(own)
    IFormer(arch).load_state_dict(own)
    scaled = IFormer(arch, layer_scale_init_value=0.5).state_dict()
    IFormer(find_arch(scaled)).load_state_dict(scaled)


def test_a_backbone_somewhere_else():
    with pytest.raises(ValueError, match=r"no keys under 'backbone\.'.*type='Pretrained'"):
        mmengine.runner.checkpoint.load_state_dict(Detector(), released('cls_t'))
    with pytest.raises(ValueError, match=r"lies under 'backbone\.', this model has it without a prefix"):
        IFormer('t').load_state_dict(detector_file())


def test_files_of_other_networks(tmp_path):
    for name, content, message in (
        (
            'resnet',
            {'conv1.weight': torch.zeros(1), 'layer1.0.bn1.weight': torch.zeros(1)},
            'no iFormer backbone.*conv1',
        ),
        ('convnext', {'downsample_layers.0.0.weight': torch.zeros(1)}, 'no iFormer backbone.*downsample_layers'),
        ('empty', {}, 'no iFormer backbone'),
        ('optimizer', {'optimizer': {'lr': 1}}, "neither as a whole nor under 'state_dict' or 'model'.*optimizer"),
    ):
        checkpoint.save(content, tmp_path / f'{name}.pth')
        with pytest.raises(ValueError, match=f'{name}.pth: .*{message}'):
            module.load_pretrained(IFormer('t'), tmp_path / f'{name}.pth')


def test_parts_beside_the_backbone_are_known_or_left_aside_on_request(tmp_path):
    file = detector_file() | {'encoder.layers.0.weight': torch.zeros(1)}
    checkpoint.save(file, tmp_path / 'w.pth')
    with pytest.raises(ValueError, match=r"1 \(encoder\.layers\.0\.weight\).*prefix='backbone\.'"):
        module.load_pretrained(IFormer('t'), tmp_path / 'w.pth')
    for prefix in ('backbone', 'backbone.'):
        backbone = IFormer('t')
        module.load_pretrained(backbone, tmp_path / 'w.pth', prefix)
        assert holds(backbone)


def test_of_several_backbones_one_is_chosen(tmp_path):
    file = {f'{who}.{key}': tensor for who in ('student', 'teacher') for key, tensor in detector_file().items()}
    checkpoint.save(file, tmp_path / 'w.pth')
    with pytest.raises(ValueError, match=r"more than one.*'student\.backbone\.', 'teacher\.backbone\.'"):
        module.load_pretrained(IFormer('t'), tmp_path / 'w.pth')
    backbone = IFormer('t')
    module.load_pretrained(backbone, tmp_path / 'w.pth', 'teacher.backbone')
    assert holds(backbone)


def test_heads_must_fit_the_classifier():
    one, two = IFormerClassifier('m'), IFormerClassifier('m', distillation=True)
    with pytest.raises(ValueError, match=r"unexpected: 7 \(head_dist.*arch='m', distillation=True, this network is"):
        one.load_state_dict(shapes_alone('cls_m_distill'))
    with pytest.raises(ValueError, match=r"missing: 6 \(head_dist.*arch='m', distillation=False, this network is"):
        two.load_state_dict(shapes_alone('cls_m'))
    with pytest.raises(ValueError, match=r'head\.fc\.weight: \(1000, 384\) instead of \(10, 384\)'):
        IFormerClassifier('m', num_classes=10).load_state_dict(shapes_alone('cls_m'))
    with pytest.raises(ValueError, match="weights are of arch='l'.*this network is arch='m'"):
        one.load_state_dict(shapes_alone('cls_l'))
