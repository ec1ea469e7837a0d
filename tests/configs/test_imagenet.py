"""The recipe for ImageNet against Table 9, written out here once more, and mmpretrain's transforms against timm's."""

from __future__ import annotations

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope
from PIL import Image, ImageOps

from mmiformer.datasets.imagenet import find_classes, preprocess
from mmiformer.datasets.shapes import make_dataset, make_scene
from mmiformer.engine.recipe import pretrained_files
from mmiformer.published import PUBLISHED

from ..helpers import TINY
from ..left_out import needs_extra
from ..pages import ROOT, split

needs_extra('imagenet')
import timm.data as timm_data  # noqa: E402

CONFIGS = Path(__file__).parents[2] / 'configs'
RECIPES = {
    'iformer_t_300e': 'iFormer_t.pth',
    'iformer_s_300e': 'iFormer_s.pth',
    'iformer_m_300e': 'iFormer_m.pth',
    'iformer_l_300e': 'iFormer_l.pth',
    'iformer_h_300e': 'iFormer_h.pth',
    'iformer_m_distill_300e': 'iFormer_m_distill.pth',
    'iformer_l_distill_300e': 'iFormer_l_distill.pth',
    'iformer_l2_distill_450e': 'iFormer_l2_distill.pth',
}
MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


def read(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


@pytest.fixture
def scope():
    init_default_scope('mmpretrain')


# ---- Table 9


def test_there_are_these_configs():
    assert {path.stem for path in (CONFIGS / 'imagenet').glob('*.py') if 'shapes' not in path.stem} == set(RECIPES)


@pytest.mark.parametrize('name', RECIPES)
def test_networks(name):
    cfg, published = read(f'imagenet/{name}'), PUBLISHED[RECIPES[name]]
    assert cfg.model.arch == published.arch and bool(cfg.model.get('distillation')) == published.distilled
    assert cfg.model.label_smoothing == 0.1
    assert cfg.model.drop_path_rate == {'iformer_l_300e': 0.1, 'iformer_h_300e': 0.6}.get(name, 0.0)
    first = (CONFIGS / 'imagenet' / f'{name}.py').read_text().splitlines()[0]
    assert (
        f'{published.result["top1"]} % top-1' in first and f'tools/dist_train.sh configs/imagenet/{name}.py 8' in first
    )
    with torch.device('meta'):
        network = MODELS.build(cfg.model)
    assert hasattr(network, 'head_dist') == published.distilled == bool(pretrained_files(cfg))
    if published.distilled:
        assert cfg.model.teacher.model_name == 'regnety_160' and 'regnety_160.deit_in1k' in pretrained_files(cfg)[0]


@pytest.mark.parametrize('name', RECIPES)
def test_schedule(name, scope):
    """20 epochs of linear warm-up, then half a cosine to 1e-6, iteration by iteration."""
    cfg = read(f'imagenet/{name}')
    epochs, length = (450 if '450' in name else 300), 10
    assert cfg.train_cfg.max_epochs == epochs and cfg.optim_wrapper.get('clip_grad') is None
    peak, batch = (8e-3, 8192) if 'iformer_h' in name else (4e-3, 4096)
    assert cfg.auto_scale_lr.base_batch_size == batch and not cfg.auto_scale_lr.enable
    assert cfg.train_dataloader.batch_size * (64 if 'iformer_h' in name else 8) == batch
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
    steps = [
        PARAM_SCHEDULERS.build({**one, 'optimizer': wrapper, 'epoch_length': length}) for one in cfg.param_scheduler
    ]
    rates = []
    for _ in range(epochs * length):
        rates.append(wrapper.optimizer.param_groups[0]['lr'])
        for step in steps:
            step.step()
    warm, place = 20 * length, np.arange(epochs * length)
    expected = np.where(
        place < warm,
        peak * place / (warm - 1),
        1e-6 + (peak - 1e-6) * (1 + np.cos(np.pi * (place - warm) / (epochs * length - warm))) / 2,
    )
    np.testing.assert_allclose(rates, expected, atol=0.01 * peak)


def test_what_decays(scope):
    cfg = read('imagenet/iformer_h_300e')
    network = MODELS.build({**cfg.model, 'arch': dict(TINY, layer_scale=1e-6)})
    wrapper = build_optim_wrapper(network, cfg.optim_wrapper)
    assert type(wrapper.optimizer) is torch.optim.AdamW
    decay = {id(p): group['weight_decay'] for group in wrapper.optimizer.param_groups for p in group['params']}
    assert {group['betas'] for group in wrapper.optimizer.param_groups} == {(0.9, 0.999)}
    assert len(decay) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        assert decay[id(parameter)] == (0.0 if parameter.ndim == 1 or name.endswith('.bias') else 0.05), name


def test_data():
    """What Table 9 and the released code say of it."""
    cfg = read('imagenet/iformer_m_300e')
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps['RandomResizedCrop'].scale == 224 and steps['RandomFlip'].prob == 0.5
    augment, erasing = steps['RandAugment'], steps['RandomErasing']
    assert (augment.num_policies, augment.magnitude_level, augment.magnitude_std) == (2, 9, 0.5)
    assert (erasing.erase_prob, erasing.mode, erasing.max_area_ratio) == (0.25, 'rand', 1 / 3)
    mixes = cfg.data_preprocessor.batch_augments
    assert [(mix.type, mix.alpha) for mix in mixes.augments] == [
        ('Mixup', 0.8),
        ('CutMix', 1.0),
    ] and 'probs' not in mixes
    assert cfg.train_dataloader.sampler.type == 'DefaultSampler' and cfg.train_dataloader.drop_last
    assert not cfg.get('custom_hooks')  # no average of weights


def test_one_variable_moves_the_data(monkeypatch):
    monkeypatch.setenv('IMAGENET_ROOT', '/elsewhere/')
    cfg = read('imagenet/iformer_m_300e')
    roots = {cfg[loader].dataset.data_root for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')}
    assert roots == {'/elsewhere/'}


# ---- mmpretrain's transforms beside timm's


def picture(size: int, number: int = 3) -> np.ndarray:
    return np.ascontiguousarray(make_scene(0, 'train', number, size).image[:, :, ::-1])  # RGB


def build(steps: list):
    from mmcv.transforms import Compose
    from mmpretrain.registry import TRANSFORMS

    return Compose([TRANSFORMS.build(step) for step in steps])


def run(transform, image: np.ndarray) -> np.ndarray:
    return transform(dict(img=image[:, :, ::-1].copy()))['img'][:, :, ::-1].astype(int)  # OpenCV's BGR


@pytest.mark.parametrize('size', [232, 320, 500])
def test_evaluation_is_timms(size, scope):
    """To the last bit, and so is the preprocessing of tools/check_imagenet.py."""
    image = picture(size)
    timms = timm_data.create_transform(224, is_training=False, interpolation='bicubic', crop_pct=0.875)
    theirs = timms(Image.fromarray(image)).numpy().transpose(1, 2, 0) * STD + MEAN
    steps = read('imagenet/iformer_m_300e').test_pipeline[1:-1]
    ours = run(build(steps), image)
    assert np.abs(ours - theirs).max() < 1e-3
    checked = preprocess(Image.fromarray(image)).numpy().transpose(1, 2, 0) * STD + MEAN
    assert np.abs(checked - theirs).max() < 1e-3


# Largest and mean difference of pixels (of 255) on a drawn scene, at magnitude 9; those that are missing are equal.
# docs/imagenet.md has these figures.
DIFFERENCES = dict(Rotate=(70, 0.8), Color=(2, 0.6), Sharpness=(60, 0.1), Shear=(100, 1.2), Translate=(35, 0.5))


def test_augmentations_are_timms(scope, monkeypatch):
    settings = dict(translate_const=100, img_mean=(124, 116, 104), interpolation=Image.Resampling.BICUBIC)
    theirs = timm_data.rand_augment_transform('rand-m9-mstd0-inc1', settings)
    augment = read('imagenet/iformer_m_300e').train_pipeline[3]
    ours = build([{**augment, 'magnitude_std': 0.0}]).transforms[0]
    assert len(ours.transforms) == len(theirs.ops) == 15 and ours.num_policies == theirs.num_layers == 2
    image, found = picture(256)[:224, :224], {}
    for their, our in zip(theirs.ops, ours.transforms, strict=True):
        assert their.prob == our.prob == 0.5
        their.prob = our.prob = 1.0
        pairs = []
        for sign in (0.0, 0.9):  # timm draws whether a magnitude is negative, mmpretrain as well
            with monkeypatch.context() as patch:
                patch.setattr(random, 'random', lambda sign=sign: sign)
                expected = np.asarray(their(Image.fromarray(image))).astype(int)
            for our.random_negative_prob in (-1, 2):
                pairs.append(np.abs(run(our, image) - expected))
        closest = min(pairs, key=np.mean)
        found[their.name] = closest.max(), closest.mean()
    for name, (most, mean) in found.items():
        limit = next((limit for key, limit in DIFFERENCES.items() if name.startswith(key)), (0, 0))
        assert most <= limit[0] and mean <= limit[1], (name, most, mean)


def test_erasing_is_like_timms(scope):
    """As often, and as much; its noise is cut where pixels end, so its deviation is 0.97 instead of 1."""
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    step = read('imagenet/iformer_m_300e').train_pipeline[4]
    ours, image, shares, values = build([step]), np.full((64, 64, 3), 7, np.uint8), [], []
    theirs = timm_data.random_erasing.RandomErasing(0.25, mode='pixel', device='cpu')
    for _ in range(2000):
        erased = run(ours, image)
        shares.append([(erased != 7).all(2).mean(), (theirs(torch.full((3, 64, 64), 7.0)) != 7).all(0).float().mean()])
        values.append(((erased - MEAN) / STD)[(erased != 7).all(2)])
    shares = np.array(shares)
    often, much = (shares > 0).mean(0), [column[column > 0].mean() for column in shares.T]
    assert often == pytest.approx([0.25, 0.25], abs=0.03) and much[0] == pytest.approx(much[1], rel=0.1)
    values = np.concatenate(values)
    assert values.mean() == pytest.approx(0, abs=0.02) and values.std() == pytest.approx(0.97, abs=0.02)


def test_training_images_are_timms_on_the_whole(scope, monkeypatch):
    """Mean and deviation of normalized pixels over many passes of both pipelines over one picture."""
    posterize = ImageOps.posterize  # which came to refuse 0 bits, that is black, and timm asks for them
    black = Image.new('RGB', (224, 224))
    monkeypatch.setattr(ImageOps, 'posterize', lambda image, bits: posterize(image, bits) if bits else black)
    timms = timm_data.create_transform(
        224,
        is_training=True,
        auto_augment='rand-m9-mstd0.5-inc1',
        interpolation='bicubic',
        re_prob=0.25,
        re_mode='pixel',
    )
    steps = read('imagenet/iformer_m_300e').train_pipeline[1:-1]
    pipeline, image = build(steps), picture(256)
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    passes = 150
    ours = np.stack([(run(pipeline, image) - MEAN) / STD for _ in range(passes)])
    theirs = np.stack([timms(Image.fromarray(image)).numpy().transpose(1, 2, 0) for _ in range(passes)])
    assert ours.shape == theirs.shape == (passes, 224, 224, 3)
    print(ours.mean(), theirs.mean(), ours.std(), theirs.std())
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.1) and ours.std() == pytest.approx(theirs.std(), rel=0.1)


# ---- the ablations


@pytest.mark.parametrize('name', ['figure2_01_convnext', 'table1_mha', 'table11_with', 'table16_chunk_hybrid'])
def test_ablations_have_this_recipe(name):
    ours, recipe = read(f'ablation/{name}'), read('imagenet/iformer_m_300e')
    for key in (*recipe, 'default_scope'):
        assert key == 'model' or ours[key] == recipe[key], key
    assert ours.model.label_smoothing == recipe.model.label_smoothing and ours.model.num_classes == 1000


def test_blocks_of_the_page(tmp_path, scope, monkeypatch):
    """Configs that it tells its reader to write are read and built, on the recipe."""
    blocks = [block.code for block in split((ROOT / 'docs/imagenet.md').read_text())[1] if block.language == 'python']
    own, distilled, backbone, jpegs = blocks
    own = own.replace("'configs/", f"'{CONFIGS}/")
    (tmp_path / 'own.py').write_text(own)
    (tmp_path / 'distilled.py').write_text(f"_base_ = '{CONFIGS}/imagenet/iformer_t_300e.py'\n{distilled}")
    assert Config.fromfile(tmp_path / 'own.py').train_dataloader.dataset.metainfo.classes == ('cat', 'dog')
    heads = []
    for name in ('own', 'distilled'):
        with torch.device('meta'):
            heads.append(MODELS.build(Config.fromfile(tmp_path / f'{name}.py').model))
    assert heads[0].head.fc.out_features == 2 and heads[1].teacher.config['model_name'] == 'resnet50'
    found = {}
    exec(backbone, found)
    MODELS.build(dict(type='mmiformer.IFormer', arch='t', init_cfg=found['init_cfg']))
    monkeypatch.chdir(tmp_path)
    make_dataset('data/scenes', images=5, size=64)
    exec(jpegs, {})
    paths = [path for paths in find_classes('data/jpegs/train').values() for path in paths]
    assert [cv2.imread(path).shape for path in paths] == [(375, 500, 3)] * 4
