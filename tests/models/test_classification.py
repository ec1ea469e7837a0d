"""Losses, teachers and what becomes of them in optimizers and checkpoints, against formulas and timm's own task."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmiformer import checkpoint
from mmiformer.errors import UserError
from mmiformer.models import IFormer, IFormerClassifier
from mmiformer.models.ablation import AblationClassifier
from mmiformer.models.layouts import convert

from ..helpers import TINY, randomize
from ..left_out import needs_extra

CLASSES = 5
MIXER = dict(
    type='ClsDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
    batch_augments=dict(augments=[dict(type='Mixup', alpha=0.8)]),
)


@pytest.fixture
def samples():
    """Two images of mmpretrain's, one sample each."""
    needs_extra('imagenet')
    from mmpretrain.structures import DataSample

    init_default_scope('mmpretrain')
    return [DataSample().set_gt_label(label) for label in (1, 3)]


@pytest.fixture
def weights(tmp_path):
    """Weights of a teacher."""
    path = tmp_path / 'teacher.pth'
    checkpoint.save(dict(state_dict=randomize(IFormerClassifier(TINY, CLASSES), seed=7).state_dict()), path)
    return path


def teacher(path, **options) -> dict:
    init = dict(type='Pretrained', checkpoint=str(path))
    return dict(type='mmiformer.IFormerClassifier', arch=TINY, num_classes=CLASSES, init_cfg=init) | options


def student(path, **options) -> IFormerClassifier:
    return randomize(IFormerClassifier(TINY, CLASSES, distillation=True, teacher=teacher(path), **options))


class Fixed(IFormerClassifier):
    """A classifier with hand-made logits."""

    outputs = None

    def logits(self, x):
        return self.outputs


def formula(logits: list, targets: list) -> float:
    """The mean of -sum(target * log softmax), written out."""
    losses = []
    for row, target in zip(logits, targets, strict=True):
        log = torch.tensor(row, dtype=torch.float64)
        log = log - log.exp().sum().log()
        losses.append(-(torch.tensor(target, dtype=torch.float64) * log).sum())
    return float(sum(losses) / len(losses))


def test_losses_are_the_formula(samples, weights):
    logits, taught = [[1.0, 2.0, -1.0, 0.5, 0.0], [0.0, 0.3, 0.2, -2.0, 1.0]], [[0.0, 1.0, 2.0, 0.0, 0.0]] * 2
    smooth = [[0.02, 0.92, 0.02, 0.02, 0.02], [0.02, 0.02, 0.02, 0.92, 0.02]]  # 0.9 + 0.1 / 5, and 0.1 / 5
    plain = Fixed(TINY, CLASSES, label_smoothing=0.1)
    plain.outputs = torch.tensor(logits)
    image = torch.zeros(2, 3, 32, 32)
    assert plain(image, samples, 'loss')['loss'].item() == pytest.approx(formula(logits, smooth), rel=1e-6)

    distilled = Fixed(TINY, CLASSES, distillation=True, label_smoothing=0.1, teacher=teacher(weights))
    distilled.outputs = torch.tensor(logits), torch.tensor(taught)
    distilled.teacher.labels = lambda images, classes: torch.tensor([2, 0])
    losses = distilled(image, samples, 'loss')
    hard = [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0]]
    assert losses['loss_label'].item() == pytest.approx(0.5 * formula(logits, smooth), rel=1e-6)
    assert losses['loss_teacher'].item() == pytest.approx(0.5 * formula(taught, hard), rel=1e-6)

    for sample, score in zip(samples, ([0, 0.7, 0, 0.3, 0], [0, 0.3, 0, 0.7, 0]), strict=True):  # mixed
        sample.set_gt_score(torch.tensor(score))
    mixed = [[0.02, 0.65, 0.02, 0.29, 0.02], [0.02, 0.29, 0.02, 0.65, 0.02]]
    assert plain(image, samples, 'loss')['loss'].item() == pytest.approx(formula(logits, mixed), rel=1e-6)


class Taught(nn.Module):
    """A network as timm's task takes it: with a switch, and both logits."""

    pretrained_cfg = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    num_classes, in_chans = CLASSES, 3

    def __init__(self, network):
        super().__init__()
        self.network = network

    def set_distilled_training(self, enable=True):
        pass

    def forward(self, x):
        return self.network(x)


def test_a_step_is_that_of_timms_task(samples, weights):
    from timm import task

    ours = student(weights, label_smoothing=0.1).train()
    theirs = copy.deepcopy(ours)
    theirs.teacher = None
    knows = IFormerClassifier(TINY, CLASSES)
    knows.load_state_dict(checkpoint.load(weights)['state_dict'])
    knows.pretrained_cfg = Taught.pretrained_cfg
    timms = task.TokenDistillationTask(
        Taught(theirs),
        knows.eval(),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        distill_type='hard',
        task_loss_weight=0.5,
        verbose=False,
    ).train()
    images, target = torch.randn(2, 3, 64, 64), torch.tensor([1, 3])
    steps = [torch.optim.AdamW(network.parameters(), 1e-2) for network in (ours, theirs)]
    losses = ours(images, samples, 'loss')
    losses = [losses['loss_label'] + losses['loss_teacher'], timms(images, target)['loss']]
    torch.testing.assert_close(*losses)
    for loss, step in zip(losses, steps, strict=True):
        loss.backward()
        step.step()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=f'{name} differs')
    for one, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_teacher_is_no_part_of_its_student(samples, weights):
    alone = IFormerClassifier(TINY, CLASSES, distillation=True)
    taught = student(weights)
    sum(taught(torch.randn(2, 3, 32, 32), samples, 'loss').values()).backward()
    network = taught.teacher.network
    before = copy.deepcopy(network.state_dict())
    assert network is not None and taught.state_dict().keys() == alone.state_dict().keys()
    assert {id(p) for p in network.parameters()}.isdisjoint(id(p) for p in taught.parameters())
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())
    taught.train()
    assert not any(module.training for module in network.modules())
    average = ExponentialMovingAverage(taught)
    assert average.module.teacher.network is network
    assert not any('teacher' in key for key in average.state_dict())
    taught(torch.randn(2, 3, 32, 32), samples, 'loss')
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    alone.load_state_dict(taught.state_dict())
    taught.load_state_dict(alone.state_dict())


def test_evaluation_needs_no_teacher(samples, tmp_path):
    network = student(tmp_path / 'nowhere.pth').eval()
    found = network(torch.randn(2, 3, 32, 32), samples, 'predict')
    assert [len(sample.pred_score) for sample in found] == [CLASSES] * 2 and network.teacher.network is None
    assert all(int(sample.pred_label) == int(sample.pred_score.argmax()) for sample in found)


def timms(tmp_path) -> dict:
    import timm

    torch.manual_seed(0)
    network = timm.create_model('resnet10t', num_classes=CLASSES)
    checkpoint.save(network.state_dict(), tmp_path / 'resnet10t.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'resnet10t.pth'))
    return network, dict(type='TimmClassifier', model_name='resnet10t', num_classes=CLASSES, init_cfg=init)


def test_teachers_of_timm_and_mmpretrain(samples, tmp_path):
    network, config = timms(tmp_path)
    images = torch.randn(4, 3, 64, 64)
    taught = IFormerClassifier(TINY, CLASSES, distillation=True, teacher=config)
    with torch.no_grad():
        assert torch.equal(taught.teacher.labels(images, CLASSES), network.eval()(images).argmax(1))

    other = dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=18),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=512),
    )
    network = MODELS.build(copy.deepcopy(other))
    network.init_weights()
    checkpoint.save(dict(state_dict=network.state_dict()), tmp_path / 'resnet18.pth')
    other['init_cfg'] = dict(type='Pretrained', checkpoint=str(tmp_path / 'resnet18.pth'))
    taught = IFormerClassifier(TINY, CLASSES, distillation=True, teacher=other)
    with torch.no_grad():
        assert torch.equal(taught.teacher.labels(images, CLASSES), network.eval()(images).argmax(1))


def test_what_is_wrong_with_a_teacher(samples, weights, tmp_path):
    with pytest.raises(ValueError, match='distillation=True'):
        IFormerClassifier(TINY, CLASSES, teacher=teacher(weights))
    with pytest.raises(ValueError, match='init_cfg'):
        IFormerClassifier(TINY, CLASSES, distillation=True, teacher=teacher(weights, init_cfg=None))
    images = torch.zeros(2, 3, 32, 32)
    ask = functools.partial(IFormerClassifier, TINY, 4, distillation=True)
    with pytest.raises(UserError, match='knows 5 classes, and its student has 4'):
        ask(teacher=teacher(weights))(images, samples, 'loss')
    _, config = timms(tmp_path)
    with pytest.raises(UserError, match='does not fit model.teacher'):
        ask(teacher=config | dict(model_name='resnet14t'))(images, samples, 'loss')
    with pytest.raises(UserError, match=r'mean=\(0.5, 0.5, 0.5\)'):
        ask(teacher=config | dict(pretrained_cfg_overlay=dict(mean=(0.5, 0.5, 0.5))))(images, samples, 'loss')
    with pytest.raises(ValueError, match='learns from a teacher'):
        IFormerClassifier(TINY, CLASSES, distillation=True)(images, samples, 'loss')
    with pytest.raises(ValueError, match="'tensor', 'loss' or 'predict'"):
        IFormerClassifier(TINY, CLASSES)(images, samples, 'losses')
    with pytest.raises(ValueError, match='label_smoothing=1'):
        IFormerClassifier(TINY, CLASSES, label_smoothing=1)


def test_images_are_mixed_and_normalized(samples):
    """The preprocessor gets the number of classes from the model."""
    network = randomize(IFormerClassifier(TINY, CLASSES, data_preprocessor=MIXER)).train()
    assert network.data_preprocessor.num_classes == CLASSES
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    data = network.data_preprocessor(dict(inputs=images, data_samples=samples), True)
    scores = torch.stack([sample.gt_score for sample in data['data_samples']])
    share = scores[0, 1].item()
    torch.testing.assert_close(scores.sum(1), torch.ones(2))
    clean = (images.flip(1) - torch.tensor(MIXER['mean']).view(3, 1, 1)) / torch.tensor(MIXER['std']).view(3, 1, 1)
    expected = share * clean[0] + (1 - share) * clean[1]
    torch.testing.assert_close(data['inputs'][0], expected)
    assert network(**data, mode='loss')['loss'].isfinite()


@pytest.mark.parametrize('layout', ['mmiformer', 'released', 'timm'])
def test_a_checkpoint_of_imagenet_becomes_a_backbone(layout, tmp_path, weights):
    """Trained here, distilled or not, as well as in any layout."""
    for network in (randomize(IFormerClassifier(TINY, CLASSES)), student(weights)):
        path = tmp_path / 'classifier.pth'
        key = 'state_dict' if layout == 'mmiformer' else 'model'
        checkpoint.save({key: convert(network.state_dict(), layout)}, path)
        init = dict(type='Pretrained', checkpoint=str(path))
        backbone = IFormer(TINY, init_cfg=init)
        backbone.init_weights()
        assert all(
            torch.equal(value, network.backbone.state_dict()[key]) for key, value in backbone.state_dict().items()
        )
        again = IFormerClassifier(TINY, CLASSES, distillation=network.distillation, init_cfg=init)
        again.init_weights()
        assert all(torch.equal(value, network.state_dict()[key]) for key, value in again.state_dict().items())


def test_ablations_train_in_the_same_way(samples):
    network = AblationClassifier(dict(type='mmiformer.IFormerSHA', arch=TINY, out_indices=(3,)), CLASSES, 0.1)
    randomize(network).train()
    images = torch.randn(2, 3, 32, 32)
    loss = network(images, samples, 'loss')['loss']
    expected = F.cross_entropy(network(images), torch.tensor([1, 3]), label_smoothing=0.1)
    torch.testing.assert_close(loss, expected)
