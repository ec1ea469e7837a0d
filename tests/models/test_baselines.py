"""Every backbone that iFormer is compared with in Table 5, and EfficientFormerV2-L of Table 13."""

import functools
from typing import NamedTuple

import mmengine.runner
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS as MMDET
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS as MMSEG

from mmiformer import checkpoint
from mmiformer.errors import UserError

from .. import parity, peers
from ..helpers import relative_error
from ..left_out import needs_extra

needs_extra('peers')
import timm  # noqa: E402

PRE_BLOCKS = (*(f'stages.{stage}.downsample.pre_block' for stage in (1, 2, 3)), 'stages.3')


def timm_backbone(model_name, **options):
    return dict(type='mmiformer.TimmBackbone', model_name=model_name, **options)


class Row(NamedTuple):
    """A backbone, its maps' channels, its classifier's parameters in M; of these the head's, if not timm's."""

    backbone: dict
    channels: tuple
    params: float
    head: int = 0


def linear(channels, heads=1):
    return heads * (channels + 1) * 1000


SWIN = dict(type='SwinTransformer', depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), embed_dims=96)
ROWS = {
    'EfficientNet-B0': Row(timm_backbone('efficientnet_b0'), (24, 40, 112, 320), 5.29),
    'ResNet-18': Row(dict(type='ResNet', depth=18), (64, 128, 256, 512), 11.69, linear(512)),
    'ResNet-50': Row(dict(type='ResNet', depth=50), (256, 512, 1024, 2048), 25.56, linear(2048)),
    'PoolFormer-S12': Row(timm_backbone('poolformer_s12', output_norm='GN1'), (64, 128, 320, 512), 11.92),
    'PoolFormer-S24': Row(timm_backbone('poolformer_s24', output_norm='GN1'), (64, 128, 320, 512), 21.39),
    'EfficientFormer-L1': Row(
        dict(type='mmiformer.EfficientFormer', arch='l1', bias_grid=7),
        (48, 96, 224, 448),
        12.29,
        2 * 448 + linear(448, heads=2),
    ),
    'EfficientFormer-L3': Row(
        dict(type='mmiformer.EfficientFormer', arch='l3', bias_grid=7),
        (64, 128, 320, 512),
        31.41,
        2 * 512 + linear(512, heads=2),
    ),
    'FastViT-SA12': Row(timm_backbone('fastvit_sa12', output_norm='BN'), (64, 128, 256, 512), 11.58),
    'FastViT-SA24': Row(timm_backbone('fastvit_sa24', output_norm='BN'), (64, 128, 256, 512), 21.55),
    'RepViT-M1.1': Row(timm_backbone('repvit_m1_1'), (64, 128, 256, 512), 8.80),
    'RepViT-M1.5': Row(timm_backbone('repvit_m1_5', taps=PRE_BLOCKS), (64, 128, 256, 512), 14.64),
    'ConvNeXt-T': Row(timm_backbone('convnext_tiny', output_norm='LN'), (96, 192, 384, 768), 28.59),
    'PVTv2-B1': Row(timm_backbone('pvt_v2_b1', drop_path_rate=0.1), (64, 128, 320, 512), 14.01),
    'EfficientMod-s': Row(
        dict(type='mmiformer.EfficientMod', arch='s'), (32, 64, 144, 312), 12.90, 2 * 312 + linear(312)
    ),
    'EfficientMod-s-Conv': Row(
        dict(type='mmiformer.EfficientMod', arch='s_conv'), (40, 80, 160, 344), 12.87, 2 * 344 + linear(344)
    ),
    'Swin-T': Row(SWIN, (96, 192, 384, 768), 28.29, linear(768)),
    'EfficientFormerV2-L': Row(
        dict(type='mmiformer.EfficientFormerV2', arch='l', bias_grid=7),
        (40, 80, 192, 384),
        26.32,
        2 * 384 + linear(384, heads=2),
    ),
}


def build(row):
    return MMDET.build(ROWS[row].backbone)


@functools.cache
def on_meta(row):
    with torch.device('cpu' if row == 'Swin-T' else 'meta'):  # its constructor reads numbers off tensors
        return build(row).to('meta')


@pytest.mark.parametrize('row', ROWS)
def test_maps_have_four_strides_at_the_sizes_of_detection_and_segmentation(row):
    backbone = on_meta(row)
    backbone.eval()
    levels = list(zip(ROWS[row].channels, (4, 8, 16, 32), strict=True))
    for height, width in (800, 1344), (512, 704):  # 512 x 683, aligned to 32
        maps = backbone(torch.empty(1, 3, height, width, device='meta'))
        assert [tuple(m.shape) for m in maps] == [(1, c, height // stride, width // stride) for c, stride in levels]
    if ROWS[row].backbone['type'].startswith('mmiformer.'):
        assert backbone.feature_info == [dict(channels=channels, stride=stride) for channels, stride in levels]
        assert all(level.is_contiguous() for level in maps)


@pytest.mark.parametrize('row', [row for row in ROWS if row.startswith('Efficient') and row != 'EfficientNet-B0'])
def test_own_networks_take_images_of_any_size(row):
    maps = on_meta(row)(torch.empty(1, 3, 97, 131, device='meta'))
    assert [tuple(level.shape[2:]) for level in maps] == [(25, 33), (13, 17), (7, 9), (4, 5)]


@pytest.mark.parametrize('row', ROWS)
def test_the_classifier_has_the_published_number_of_parameters(row):
    """The backbone's, without norms that only the dense network has, and those of the classifier's end."""
    backbone = on_meta(row)
    dense_only = ('output_norms.', 'norm0.', 'norm1.', 'norm2.') if row == 'Swin-T' else 'output_norms.'
    counts = [p.numel() for name, p in backbone.named_parameters() if not name.startswith(dense_only)]
    if model_name := ROWS[row].backbone.get('model_name'):
        with torch.device('meta'):
            classifier = timm.create_model(model_name)
        end = [p.numel() for name, p in classifier.named_parameters() if f'model.{name}' in backbone.left_aside]
        assert end
        counts += end
    assert (sum(counts) + ROWS[row].head) / 1e6 == pytest.approx(ROWS[row].params, abs=0.01)


@pytest.mark.parametrize('row', ROWS)
def test_gradients_reach_every_parameter(row):
    torch.manual_seed(0)
    backbone = build(row)
    backbone.init_weights()
    backbone.train()
    parameters = dict(backbone.named_parameters())
    for parameter in parameters.values():
        if parameter.ndim == 1:  # no scale that starts from 0 hides what is before it
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    maps = backbone(torch.rand(2, 3, 64, 96))
    sum((level * torch.rand_like(level)).sum() for level in maps).backward()
    assert not [name for name, parameter in parameters.items() if parameter.grad is None]
    assert sum(bool(parameter.grad.any()) for parameter in parameters.values()) > 0.9 * len(parameters)


def test_mmseg_builds_them_too():
    for row in ('RepViT-M1.1', 'EfficientFormer-L1', 'EfficientFormerV2-L', 'EfficientMod-s'):
        with torch.device('meta'):
            assert type(MMSEG.build(ROWS[row].backbone)) is type(on_meta(row))


# --- the authors' dense networks

REFERENCES = {
    **{
        f'repvit_{name}_{task}': (f'repvit_{name}', timm_backbone(f'repvit_{name}', taps=taps))
        for name in ('m1_1', 'm1_5')
        for task, taps in (('det', None), ('seg', PRE_BLOCKS))
    },
    **{
        f'{name}_{task}': (name, dict(type=f'mmiformer.{network}', arch=arch, bias_grid=grid))
        for name, network, arch in (
            ('efficientformer_l1', 'EfficientFormer', 'l1'),
            ('efficientformer_l3', 'EfficientFormer', 'l3'),
            ('efficientformerv2_l', 'EfficientFormerV2', 'l'),
        )
        for task, grid in (('det', 25), ('seg', 16))
    },
    'efficientmod_s': ('efficientmod_s', dict(type='mmiformer.EfficientMod', arch='s')),
    'efficientmod_s_conv': ('efficientmod_s_conv', dict(type='mmiformer.EfficientMod', arch='s_conv')),
    **{name: (name, timm_backbone(name, output_norm='GN1')) for name in ('poolformer_s12', 'poolformer_s24')},
}


def dense_file(path, name, segmentation=False):
    """A detector's checkpoint as the authors save it, with the weights of the reference."""
    weights = peers.state_dict(name, segmentation)
    content = {f'backbone.{key}': tensor for key, tensor in weights.items()}
    content['neck.lateral_convs.0.conv.weight'] = torch.zeros(1)
    checkpoint.save(dict(meta={}, state_dict=content), path)
    return str(path)


def test_there_is_a_reference_of_each():
    assert REFERENCES.keys() == {key.split('/')[0] for key in peers.references()}


@pytest.mark.parametrize('reference', REFERENCES)
def test_outputs_are_those_of_the_authors(tmp_path, reference):
    name, backbone = REFERENCES[reference]
    file = dense_file(tmp_path / 'dense.pth', name, reference.endswith('_seg'))
    network = MMDET.build(dict(backbone, init_cfg=dict(type='Pretrained', checkpoint=file))).double().eval()
    network.init_weights()
    expected = {
        tuple(key.split('/')[1:]): array for key, array in peers.references().items() if key.startswith(f'{reference}/')
    }
    size = next(iter(expected))[0]
    with torch.no_grad():
        maps = network(parity.image(*map(int, size.split('x'))).double())
    assert len(maps) == 4
    for level, output in enumerate(maps):
        assert list(output.shape) == list(expected[size, f'level{level}', 'shape'])
        probe = expected[size, f'level{level}', 'probe']
        assert len(probe) == 64
        assert np.abs(parity.probe(output)[:64] - probe).max() < 1e-10 * output.abs().max().item()


# --- what is loaded


SMALL = {
    'repvit_m1_1': timm_backbone('repvit_m1_1'),
    'efficientformer_l1': dict(type='mmiformer.EfficientFormer', arch='l1'),
    'efficientmod_s': dict(type='mmiformer.EfficientMod', arch='s'),
}


@pytest.mark.parametrize('fault', ['missing', 'unexpected', 'of another shape'])
@pytest.mark.parametrize('name', SMALL)
def test_a_misfit_is_an_error_on_every_path(tmp_path, name, fault):
    weights = {f'backbone.{key}': tensor for key, tensor in peers.state_dict(name).items()}
    victim = next(key for key in weights if key.endswith('.fc1.weight'))
    if fault == 'missing':
        del weights[victim]
    elif fault == 'unexpected':
        weights[f'{victim}.more'] = torch.zeros(1)
    else:
        weights[victim] = torch.zeros(3)
    file = str(tmp_path / 'w.pth')
    checkpoint.save(dict(state_dict=weights), file)
    network = MMDET.build(dict(SMALL[name], init_cfg=dict(type='Pretrained', checkpoint=file)))
    detector = torch.nn.ModuleDict(dict(backbone=network))
    for load in (
        network.init_weights,
        lambda: detector.load_state_dict(weights, strict=False),
        lambda: mmengine.runner.load_checkpoint(detector, file, 'cpu', strict=False),
    ):
        with pytest.raises(UserError, match=rf'do not fit this {type(network).__name__}.*{fault}: 1 \('):
            load()


@pytest.mark.parametrize('name', SMALL)
def test_the_authors_checkpoints_load_into_a_detector(tmp_path, name):
    file = dense_file(tmp_path / 'dense.pth', name)
    detector = torch.nn.ModuleDict(dict(backbone=MMDET.build(SMALL[name])))
    mmengine.runner.load_checkpoint(detector, file, 'cpu')
    first = next(iter(peers.state_dict(name).values()))  # the stem's weight
    assert torch.equal(next(detector.parameters()), first)


@pytest.mark.parametrize('name', SMALL)
def test_own_checkpoints_load_as_they_are(name):
    network, other = MMDET.build(SMALL[name]), MMDET.build(SMALL[name])
    network.load_state_dict(peers.state_dict(name))
    other.load_state_dict(network.state_dict())
    assert all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize('row', ['EfficientFormer-L1', 'EfficientFormerV2-L'])
def test_efficientformers_are_timms_at_its_size(row):
    classifier = timm.create_model(row.lower().replace('-', '_')).eval()
    with torch.no_grad():
        for key, tensor in classifier.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(peers.array(key, tensor.shape)))
    backbone = build(row).eval()
    backbone.load_state_dict(classifier.state_dict())
    image = parity.image(224, 224)
    with torch.no_grad():
        maps = classifier.forward_intermediates(image, intermediates_only=True)
        for level, norm, output in zip(maps, backbone.output_norms, backbone(image), strict=True):
            assert relative_error(output, norm(level)) < 1e-5


@pytest.mark.parametrize('row', ['EfficientFormer-L1', 'EfficientFormerV2-L'])
def test_biases_of_imagenet_are_left_aside_on_another_grid(row):
    """As with the authors, and like the norms on the outputs, which ImageNet's files do not have."""
    classifier = timm.create_model(row.lower().replace('-', '_')).state_dict()
    tables = [key for key in classifier if key.endswith('.attention_biases')]
    for key in tables:
        classifier[key] = torch.rand_like(classifier[key])
    same, other = build(row), MMDET.build(dict(ROWS[row].backbone, bias_grid=16))
    for backbone in (same, other):
        backbone.load_state_dict(classifier)
        loaded = backbone.state_dict()
        for key, tensor in loaded.items():
            if key in tables and backbone is other:
                assert not tensor.any()
            elif not key.startswith('output_norms.'):
                assert torch.equal(tensor, classifier[key])
    assert tables
    detector = peers.state_dict(row.lower().replace('-', '_'))
    with pytest.raises(UserError, match=r'attention_biases: \(8, 625\) instead of \(8, 256\)'):
        other.load_state_dict(detector)


# --- the toolboxes' own classes


def parameters(*modules):
    return [f'{module}.{name}' for module in modules for name in ('weight', 'bias')]


def resnet50_keys():
    """As in torchvision, whose names mmdet's ResNet has."""
    import torchvision

    with torch.device('meta'):
        return [key for key in torchvision.models.resnet50().state_dict() if not key.startswith('fc.')]


def swin_t_keys():
    """As mmdet's checkpoint has them."""
    keys = parameters('patch_embed.projection', 'patch_embed.norm', *(f'norm{stage}' for stage in range(4)))
    for stage, depth in enumerate((2, 2, 6, 2)):
        for block in (f'stages.{stage}.blocks.{index}' for index in range(depth)):
            keys += parameters(*(f'{block}.{layer}' for layer in ('norm1', 'norm2', 'ffn.layers.0.0', 'ffn.layers.1')))
            keys += parameters(f'{block}.attn.w_msa.qkv', f'{block}.attn.w_msa.proj')
            keys += [f'{block}.attn.w_msa.relative_position_{name}' for name in ('bias_table', 'index')]
        if stage < 3:
            keys += [*parameters(f'stages.{stage}.downsample.norm'), f'stages.{stage}.downsample.reduction.weight']
    return keys


@pytest.mark.parametrize(('row', 'keys'), [('ResNet-50', resnet50_keys), ('Swin-T', swin_t_keys)])
def test_checkpoints_of_mmdet_fit_its_mask_rcnn(row, keys):
    """Those of the model zoo, whose results need no training."""
    init_default_scope('mmdet')
    model = Config.fromfile('configs/_base_/models/mask_rcnn.py').model
    detector = MMDET.build(
        dict(model, backbone=ROWS[row].backbone, neck=dict(model.neck, in_channels=list(ROWS[row].channels)))
    )
    convs, mask = [f'{index}.conv' for index in range(4)], 'roi_head.mask_head'
    assert detector.state_dict().keys() == {
        *(f'backbone.{key}' for key in keys()),
        *parameters(*(f'neck.{kind}.{conv}' for kind in ('lateral_convs', 'fpn_convs') for conv in convs)),
        *parameters(*(f'rpn_head.{layer}' for layer in ('rpn_conv', 'rpn_cls', 'rpn_reg'))),
        *parameters(*(f'roi_head.bbox_head.{layer}' for layer in ('shared_fcs.0', 'shared_fcs.1', 'fc_cls', 'fc_reg'))),
        *parameters(*(f'{mask}.convs.{conv}' for conv in convs), f'{mask}.upsample', f'{mask}.conv_logits'),
    }
