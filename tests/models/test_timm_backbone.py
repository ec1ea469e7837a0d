"""What is peculiar to the backbones that timm has; `test_baselines` has all of them."""

import copy

import mmengine.model
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmiformer import checkpoint
from mmiformer.models import TimmBackbone

from .. import peers
from ..helpers import randomize
from ..left_out import needs_extra

needs_extra('peers')
import timm  # noqa: E402

REPVIT = 'repvit_m1_1'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(model_name='repvit_m9'), "model_name='repvit_m9': timm .* has no such network"),
        (dict(out_indices=(3, 1)), r'out_indices=\(3, 1\) must be ascending feature maps, of 4 in all'),
        (dict(out_indices=(0, 4)), r'out_indices=\(0, 4\) must be ascending'),
        (dict(taps=('stages.7',)), r'taps: repvit_m1_1 has no stages\.7'),
        (dict(taps=('stages.3',)), 'must be 4 modules, one for each of out_indices'),
        (dict(output_norm='GN'), "output_norm='GN' must be None or one of GN1, BN, LN"),
        (dict(frozen_stages=5), r'frozen_stages=5 must be from -1 \(nothing\) to 4'),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message), torch.device('meta'):
        TimmBackbone(**dict(dict(model_name=REPVIT), **options))


def test_files_of_the_hub_leave_head_and_output_norms_aside():
    classifier = randomize(timm.create_model(REPVIT)).state_dict()
    backbone = TimmBackbone(REPVIT, out_indices=(1, 2), output_norm='BN')
    backbone.load_state_dict(classifier)
    loaded = {key.removeprefix('model.'): tensor for key, tensor in backbone.model.state_dict().items()}
    assert loaded.keys() < classifier.keys() and not any(key.startswith(('stages.3', 'head')) for key in loaded)
    assert all(torch.equal(tensor, classifier[key]) for key, tensor in loaded.items())
    assert [len(norm.weight) for norm in backbone.output_norms] == [128, 256]
    image = torch.rand(1, 3, 64, 96)
    assert [tuple(level.shape) for level in backbone.eval()(image)] == [(1, 128, 8, 12), (1, 256, 4, 6)]


@pytest.mark.parametrize('name', [REPVIT, 'poolformer_s12'])
def test_classifiers_of_the_authors_load_too(name):
    """Their files for ImageNet have heads and no norms on the outputs."""
    heads = (
        ['classifier.classifier.l.weight', 'classifier.classifier_dist.bn.bias'] if name == REPVIT else ['head.bias']
    )
    weights = {key: tensor for key, tensor in peers.state_dict(name).items() if not key.startswith('norm')}
    backbone = TimmBackbone(name, output_norm='GN1')
    backbone.load_state_dict(weights | {key: torch.zeros(1) for key in heads})
    first = next(iter(weights.values()))
    assert torch.equal(next(iter(backbone.model.parameters())), first)


def test_initialization_keeps_loaded_weights(tmp_path):
    """timm's network has an `init_weights` of its own, which MMEngine calls for children."""
    weights = randomize(timm.create_model('efficientformerv2_s0')).state_dict()
    checkpoint.save(weights, tmp_path / 'w.safetensors')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'w.safetensors'))
    backbone = TimmBackbone('efficientformerv2_s0', init_cfg=init_cfg)
    assert hasattr(backbone.model, 'init_weights')
    for _ in range(2):
        backbone.init_weights()
        assert all(torch.equal(tensor, weights[key]) for key, tensor in backbone.model.state_dict().items())


def test_drop_path_is_passed_on():
    backbone = TimmBackbone('pvt_v2_b1', drop_path_rate=0.1)
    assert max(getattr(module, 'drop_prob', 0) for module in backbone.modules()) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ('name', 'stem', 'stages'),
    [
        (REPVIT, ['stem'], ['stages.0', 'stages.1', 'stages.2', 'stages.3']),
        ('resnet18', ['conv1', 'bn1'], ['layer1', 'layer2', 'layer3', 'layer4']),
        ('efficientnet_b0', ['conv_stem', 'bn1', 'blocks.0'], ['blocks.1', 'blocks.2', 'blocks.4', 'blocks.6']),
    ],
)
def test_frozen_stages_get_no_gradient_and_keep_their_statistics(name, stem, stages):
    between = {'blocks.4': 'blocks.3', 'blocks.6': 'blocks.5'}  # stages of the same stride as those after them
    for frozen_stages in (-1, 0, 2, 4):
        backbone = TimmBackbone(name, frozen_stages=frozen_stages).eval().train()
        frozen = [] if frozen_stages < 0 else [*stem, *stages[:frozen_stages]]
        frozen = tuple(f'{part}.' for part in [*frozen, *(between[stage] for stage in frozen if stage in between)])
        for key, parameter in backbone.model.named_parameters():
            assert parameter.requires_grad is not key.startswith(frozen)
        for key, module in backbone.model.named_modules():
            if isinstance(module, _BatchNorm):
                assert module.training is not f'{key}.'.startswith(frozen)


def test_norm_eval_freezes_statistics_alone():
    backbone = TimmBackbone('efficientnet_b0', norm_eval=True, output_norm='BN').train()
    before = copy.deepcopy(backbone.state_dict())
    backbone(torch.rand(2, 3, 64, 64))
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert any(module.training for module in backbone.modules())


def test_taps_are_the_outputs_of_modules_also_in_a_copy():
    taps = ('stages.3.downsample.pre_block', 'stages.3')
    backbone = randomize(TimmBackbone(REPVIT, out_indices=(2, 3), taps=taps)).eval()
    other = randomize(copy.deepcopy(backbone), seed=1)
    image = torch.rand(1, 3, 64, 64)
    before, last = backbone(image)
    maps = backbone.model.forward_intermediates(image, indices=[2, 3], intermediates_only=True)
    assert torch.equal(before, backbone.model.stages[3].downsample.pre_block(maps[0])) and torch.equal(last, maps[1])
    assert not torch.equal(other(image)[0], before)
    assert torch.equal(backbone(image)[0], before)


def test_conversions_of_batch_norms_keep_timms_activations():
    """torch's to SyncBN, by which the Runner goes, and MMEngine's back; timm's batch norms hold their activation."""
    detector = nn.ModuleDict(dict(backbone=randomize(TimmBackbone('efficientnet_b0', output_norm='BN')).eval()))
    norms = [norm for norm in detector.modules() if isinstance(norm, _BatchNorm)]
    assert sum(isinstance(getattr(norm, 'act', None), nn.SiLU) for norm in norms) > 20
    image = torch.rand(1, 3, 64, 64)
    expected = detector['backbone'](image)
    keys = detector.state_dict().keys()
    for convert, kind in (
        (nn.SyncBatchNorm.convert_sync_batchnorm, nn.SyncBatchNorm),
        (nn.SyncBatchNorm.convert_sync_batchnorm, nn.SyncBatchNorm),
        (copy.deepcopy, nn.SyncBatchNorm),
        (mmengine.model.revert_sync_batchnorm, _BatchNorm),
        (copy.deepcopy, _BatchNorm),
    ):
        detector = convert(detector)
        converted = [norm for norm in detector.modules() if isinstance(norm, _BatchNorm)]
        assert len(converted) == len(norms) and all(isinstance(norm, kind) for norm in converted)
        assert kind is nn.SyncBatchNorm or not any(isinstance(norm, nn.SyncBatchNorm) for norm in converted)
        for level, output in zip(expected, detector['backbone'](image), strict=True):
            torch.testing.assert_close(output, level)
    assert detector.state_dict().keys() == keys
