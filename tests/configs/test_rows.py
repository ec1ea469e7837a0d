"""The backbones that iFormer is compared with: each has both configs, they run, and have their authors' recipes."""

from __future__ import annotations

import copy
import importlib
import math
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, PARAM_SCHEDULERS, DefaultScope, init_default_scope
from mmengine.registry import METRICS as EVALUATORS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmiformer.benchmark.complexity import count
from mmiformer.engine.runner import load_whole
from mmiformer.errors import UserError
from mmiformer.paper import TABLE_5, TABLE_13, Dense
from mmiformer.published import BASELINES

from .. import peers
from ..left_out import needs_extra
from ..tools.made_data import make_ade, make_coco

CONFIGS = Path(__file__).parents[2] / 'configs'
TASKS = dict(mask_rcnn='1x', sem_fpn='40k')


class Row(NamedTuple):
    """What is known of a backbone.

    Attributes:
        printed: Its name in Tables 5 and 13; empty if it is not there.
        channels: Of its maps.
        norms: Whether its batch norms are 'frozen' (statistics) or 'live' in Mask R-CNN and in Semantic FPN; '' if it
            has none.
        drop_path: Of the last block, in Mask R-CNN and in Semantic FPN.
        ours: Whether no recipe is published for Mask R-CNN and for Semantic FPN.
    """

    printed: str
    channels: tuple
    norms: tuple = ('', '')
    drop_path: tuple = (0, 0)
    ours: tuple = (False, False)


FROZEN, LIVE, OURS = ('frozen', 'frozen'), ('live', 'live'), (True, True)
ROWS = {
    'efficientnet_b0': Row('EfficientNet-B0', (24, 40, 112, 320), FROZEN, ours=OURS),
    'resnet18': Row('ResNet18', (64, 128, 256, 512), ('frozen', 'live')),
    'poolformer_s12': Row('PoolFormer-S12', (64, 128, 320, 512)),
    'efficientformer_l1': Row('EfficientFormer-L1', (48, 96, 224, 448), LIVE),
    'fastvit_sa12': Row('FastViT-SA12', (64, 128, 256, 512), LIVE, ours=OURS),
    'repvit_m1_1': Row('RepViT-M1.1', (64, 128, 256, 512), FROZEN),
    'resnet50': Row('ResNet50', (256, 512, 1024, 2048), ('frozen', 'live')),
    'poolformer_s24': Row('PoolFormer-S24', (64, 128, 320, 512)),
    'convnext_t': Row('ConvNeXt-T', (96, 192, 384, 768), ours=OURS),
    'efficientformer_l3': Row('EfficientFormer-L3', (64, 128, 320, 512), LIVE),
    'repvit_m1_5': Row('RepViT-M1.5', (64, 128, 256, 512), FROZEN),
    'pvtv2_b1': Row('PVTv2-B1', (64, 128, 320, 512), drop_path=(0.1, 0.1)),
    'fastvit_sa24': Row('FastViT-SA24', (64, 128, 256, 512), LIVE, ours=OURS),
    'efficientmod_s_conv': Row('EfficientMod-S', (40, 80, 160, 344), drop_path=(0.02, 0.02)),
    'efficientmod_s': Row('', (32, 64, 144, 312), drop_path=(0.02, 0.02)),
    'swin_t': Row('Swin-T', (96, 192, 384, 768), drop_path=(0.2, 0), ours=(False, True)),
    'efficientformerv2_l': Row('EfficientFormerV2-L', (40, 80, 192, 384), LIVE, (0.1, 0.1)),
}
POOLFORMERS, REPVITS = ('poolformer_s12', 'poolformer_s24'), ('repvit_m1_1', 'repvit_m1_5')
EFFICIENTFORMERS, MODS = ('efficientformer_l1', 'efficientformer_l3'), ('efficientmod_s', 'efficientmod_s_conv')
OUR_RECIPE = ('efficientnet_b0', 'fastvit_sa12', 'fastvit_sa24', 'convnext_t')

# Optimizer, learning rate, weight decay, where the warm-up starts, its iterations, images per GPU.
DETECTION = {
    ('SGD', 0.02, 1e-4, 1e-3, 500, 2): ('resnet18', 'resnet50'),
    ('AdamW', 2e-4, 1e-4, 1e-3, 500, 2): (*POOLFORMERS, 'pvtv2_b1'),
    ('AdamW', 2e-4, 1e-4, 1e-6, 500, 2): EFFICIENTFORMERS,
    ('AdamW', 2e-4, 0.05, 1e-6, 500, 2): (*REPVITS, 'efficientformerv2_l', *OUR_RECIPE),
    ('AdamW', 2e-4, 0.05, 1e-3, 500, 4): MODS,
    ('AdamW', 1e-4, 0.05, 1e-3, 1000, 2): ('swin_t',),
}
# Optimizer, learning rate, weight decay, and the learning rate that it ends with.
SEGMENTATION = {
    ('SGD', 0.02, 5e-4, 0.0): ('resnet18', 'resnet50'),
    ('AdamW', 2e-4, 1e-4, 0.0): (*POOLFORMERS, *EFFICIENTFORMERS, 'pvtv2_b1', 'efficientmod_s_conv'),
    ('AdamW', 2e-4, 1e-4, 1e-6): (*REPVITS, 'efficientformerv2_l', 'swin_t', *OUR_RECIPE),
    ('AdamW', 2e-4, 1e-4, 2e-10): ('efficientmod_s',),
}
RECIPES = {
    task: {name: recipe for recipe, names in recipes.items() for name in names}
    for task, recipes in (('mask_rcnn', DETECTION), ('sem_fpn', SEGMENTATION))
}
BOTH = [(task, name) for task in TASKS for name in ROWS]


def path(task: str, name: str) -> Path:
    return CONFIGS / task / f'{name}_{TASKS[task]}.py'


def read(task: str, name: str) -> Config:
    return Config.fromfile(path(task, name))


def build(cfg: Config) -> nn.Module:
    """The model from random weights, for one process."""
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = importlib.import_module(f'{cfg.default_scope}.registry').MODELS.build(cfg.model)
        return revert_sync_batchnorm(model)


@pytest.mark.parametrize('task', TASKS)
def test_every_row_has_its_config(task):
    end = TASKS[task]
    found = {config.stem.removesuffix(f'_{end}') for config in (CONFIGS / task).glob(f'*_{end}.py')}
    assert {name for name in found if not name.startswith('iformer')} == ROWS.keys() == RECIPES[task].keys()
    printed = {row.printed for row in ROWS.values() if row.printed}
    assert printed | {'iFormer-M', 'iFormer-L', 'iFormer-L2'} == TABLE_5.keys() | TABLE_13.keys()


@pytest.mark.parametrize(('task', 'name'), BOTH)
def test_first_lines_say_score_command_and_source(task, name):
    score, command, *others = path(task, name).read_text().split('_base_')[0].splitlines()
    row = {**TABLE_13, **TABLE_5}.get(ROWS[name].printed)
    if row is None:  # the figures of EfficientMod's own pages
        row = Dense(*[0.0] * 9)._replace(box_AP=43.6, mask_AP=40.3, mIoU=46.0)
    metrics = ('box AP', 'mask AP') if task == 'mask_rcnn' else ('mIoU',)
    figures = {metric: getattr(row, metric.replace(' ', '_')) for metric in metrics}
    named = {metric: float(value) for value, metric in re.findall(r'(\d\S*) (box AP|mask AP|mIoU)', score)}
    assert named == {metric: value for metric, value in figures.items() if value is not None}
    assert ('no published score' in score) == (not named)
    table = 5 if ROWS[name].printed in TABLE_5 else 13
    assert (f'Table {table},' if ROWS[name].printed else 'not in the paper') in score
    assert command == f'# tools/dist_train.sh {path(task, name).relative_to(CONFIGS.parent)} 8'
    [source] = [line for line in others if line.startswith('# Recipe: ')]
    ours = ROWS[name].ours[list(TASKS).index(task)]
    assert source.startswith('# Recipe: ours') == ours


@pytest.mark.parametrize(('task', 'name'), BOTH)
def test_recipe(task, name):
    cfg = read(task, name)
    optimizer, scale = cfg.optim_wrapper.optimizer, cfg.auto_scale_lr
    kind, rate, decay, *rest = RECIPES[task][name]
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == (kind, rate, decay)
    assert optimizer.get('momentum') == (0.9 if kind == 'SGD' else None) and 'clip_grad' not in cfg.optim_wrapper
    images = cfg.train_dataloader.batch_size
    assert (scale.base_batch_size, scale.enable) == (8 * images, False)
    test_steps = [step.type for step in cfg.test_dataloader.dataset.pipeline]
    assert cfg.val_dataloader == cfg.test_dataloader
    schedulers = [scheduler.type for scheduler in cfg.param_scheduler]
    if task == 'mask_rcnn':
        warm_up, steps = cfg.param_scheduler
        assert [warm_up.start_factor, warm_up.end, images] == rest and schedulers == ['LinearLR', 'MultiStepLR']
        assert (cfg.train_cfg.max_epochs, steps.milestones) == (12, [8, 11])
        assert cfg.model.data_preprocessor.pad_size_divisor == 32
    else:
        assert schedulers == (['LinearLR', 'CosineAnnealingLR'] if name in MODS else ['PolyLR'])
        assert [cfg.param_scheduler[-1].eta_min] == rest and images == 4 and cfg.train_cfg.max_iters == 40000
        assert test_steps[1:3] == ['Resize', 'ResizeToMultiple']
        assert cfg.test_dataloader.dataset.pipeline[2].size_divisor == 32


def test_norms_and_biases_decay_but_in_swins_own_recipe():
    cfg = read('mask_rcnn', 'swin_t')
    model = build(cfg)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    decay = {parameter: group['weight_decay'] for group in groups for parameter in group['params']}
    free = {name for name, parameter in model.named_parameters() if decay[parameter] == 0}
    expected = {name for name, _ in model.named_parameters() if 'norm' in name or 'relative_position_bias' in name}
    assert free == expected and free
    others = [other for other in BOTH if other != ('mask_rcnn', 'swin_t')]
    assert not [other for other in others if 'paramwise_cfg' in read(*other).optim_wrapper]


@pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')
def test_learning_rate_of_efficientmod_in_segmentation():
    """MMCV's cosine with a linear warm-up, which multiplies the rate of the schedule."""
    cfg = read('sem_fpn', 'efficientmod_s_conv')
    optimizer = build_optim_wrapper(nn.Linear(1, 1), cfg.optim_wrapper).optimizer
    schedulers = [PARAM_SCHEDULERS.build(one, default_args=dict(optimizer=optimizer)) for one in cfg.param_scheduler]
    for iteration in range(40000):
        if iteration % 500 == 0:
            cosine = 1e-4 * (1 + math.cos(math.pi * iteration / 40000))
            warm = min(1, 0.1 + 0.9 * iteration / 999)
            assert optimizer.param_groups[0]['lr'] == pytest.approx(warm * cosine, rel=1e-3)
        for scheduler in schedulers:
            scheduler.step()


# ---- they run

SMALL = dict(
    mask_rcnn={
        'train_dataloader.dataset.pipeline.2.scale': (96, 64),
        'val_dataloader.dataset.pipeline.1.scale': (96, 64),
        'model.train_cfg.rpn_proposal.max_per_img': 20,
        'model.train_cfg.rcnn.sampler.num': 16,
        'model.test_cfg.rpn.max_per_img': 20,
        'model.test_cfg.rcnn.score_thr': 0.0,
        'model.test_cfg.rcnn.max_per_img': 5,
        'model.roi_head.mask_head.num_convs': 1,
        'model.roi_head.bbox_head.fc_out_channels': 64,
    },
    sem_fpn={
        'train_dataloader.dataset.pipeline.2.scale': (128, 64),
        'train_dataloader.dataset.pipeline.3.crop_size': (64, 64),
        'val_dataloader.dataset.pipeline.1.scale': (128, 64),
        'model.data_preprocessor.size': (64, 64),
    },
)
METRICS = dict(mask_rcnn={'bbox_mAP', 'segm_mAP'}, sem_fpn={'mIoU'})


def small(task: str, name: str, data: Path) -> Config:
    """The config with small images from a folder, and small heads."""
    cfg = read(task, name)
    cfg.merge_from_dict(SMALL[task])
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.update(data_root=str(data), serialize_data=False)
    if task == 'mask_rcnn':
        cfg.val_evaluator.ann_file = str(data / 'annotations/instances_val2017.json')
    return cfg


def check_backbone(backbone: nn.Module, row: Row, place: int) -> None:
    """Its norms and stochastic depth, in training."""
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    assert {'live' if norm.training else 'frozen' for norm in norms} == {row.norms[place]} - {''}
    drops = [getattr(module, 'drop_prob', None) or 0 for module in backbone.modules()]
    assert max(drops) == pytest.approx(row.drop_path[place])


@pytest.mark.parametrize('task', TASKS)
def test_all_train_for_a_step_and_are_evaluated(task, tmp_path, capsys):
    """On one image each, which all read alike."""
    needs_extra('peers')
    if task == 'mask_rcnn':
        make_coco(tmp_path, list(CocoDataset.METAINFO['classes']), train=1, val=1)
    else:
        make_ade(tmp_path, train=1, val=1)
    configs = {name: small(task, name, tmp_path) for name in ROWS}
    init_default_scope(configs['resnet18'].default_scope)
    loaders = [configs['resnet18'][f'{split}_dataloader'].dataset for split in ('train', 'val')]
    train, val = [DATASETS.build(dataset) for dataset in loaders]
    batches = [pseudo_collate([dataset[0]]) for dataset in (train, val)]
    ran = []
    for name, cfg in configs.items():
        row = ROWS[name]
        assert [cfg[f'{split}_dataloader'].dataset for split in ('train', 'val')] == loaders
        assert tuple(cfg.model.neck.in_channels) == row.channels
        model = build(cfg).train()
        check_backbone(model.backbone, row, list(TASKS).index(task))
        losses = model.train_step(copy.deepcopy(batches[0]), build_optim_wrapper(model, cfg.optim_wrapper))
        assert 0 < losses['loss'] < math.inf, name

        metric = EVALUATORS.build(cfg.val_evaluator)
        metric.dataset_meta = val.metainfo
        with torch.no_grad():
            outputs = model.eval().val_step(copy.deepcopy(batches[1]))
        metric.process(batches[1], [output.to_dict() for output in outputs])
        figures = {key.split('/')[-1]: value for key, value in metric.evaluate(1).items()}
        assert METRICS[task] <= figures.keys() and all(figures[key] <= 100 for key in METRICS[task])
        ran.append(name)
    assert ran == list(ROWS)
    with capsys.disabled():
        print(f'\n{len(ran)} of {len(ROWS)} other backbones trained for a step and were evaluated: {task}')


@pytest.mark.parametrize('task', TASKS)
def test_resnets_freeze_what_the_toolboxes_freeze(task):
    model = build(read(task, 'resnet18'))
    frozen = {name.split('.')[0] for name, weight in model.backbone.named_parameters() if not weight.requires_grad}
    assert frozen == ({'conv1', 'bn1', 'layer1'} if task == 'mask_rcnn' else set())


def test_efficientformerv2_synchronizes_its_batch_norms():
    assert {(task, name) for task, name in BOTH if read(task, name).get('sync_bn')} == {
        (task, 'efficientformerv2_l') for task in TASKS
    }


FITTING = [file for file in BASELINES.values() if file.row.startswith(('RepViT', 'PoolFormer'))]


@pytest.mark.parametrize('file', FITTING, ids=lambda file: file.config)
def test_published_checkpoints_fit_their_configs(file):
    """Files made in their layout; those of MMDetection's own networks are in tests/models/test_baselines.py."""
    needs_extra('peers')
    task, name = file.config.split('/')
    name = name.removesuffix(f'_{TASKS[task]}')
    assert ROWS[name].printed == file.row
    model = build(read(task, name))
    weights = {key: weight for key, weight in model.state_dict().items() if not key.startswith('backbone.')}
    weights |= {f'backbone.{key}': weight for key, weight in peers.state_dict(name).items()}
    load_whole(model, dict(weights), file.name)
    *_, last = (key for key in weights if key.startswith('backbone.') and key.endswith('.weight'))
    del weights[last]
    with pytest.raises(UserError, match='missing: 1 '):
        load_whole(model, weights, file.name)


# ---- the page on them

PAGE = (CONFIGS.parent / 'docs' / 'tables.md').read_text()


def cells(start: str) -> list[list[str]]:
    """The rows of the page's table whose header begins so."""
    return [
        [cell.strip() for cell in row.split('|')[1:-1]]
        for row in PAGE.split(start)[1].split('\n\n')[0].splitlines()[2:]
    ]


def test_page_names_every_config_and_whose_recipe_it_has():
    told = {name: row for row in cells('| row | config') for name in re.findall(r'`(\w+)`', row[1])}
    assert {name for name in told if not name.startswith('iformer')} == ROWS.keys()
    for name, row in ROWS.items():
        assert tuple(cell.startswith('ours') for cell in told[name][3:5]) == row.ours
        kind = read('mask_rcnn', name).model.backbone.type
        network = dict(TimmBackbone="timm's").get(kind.removeprefix('mmiformer.'), 'written here')
        assert told[name][2].startswith(network if kind.startswith('mmiformer.') else "the toolboxes'")


def test_page_names_every_published_checkpoint_and_its_score():
    def figures(values) -> str:
        return ' / '.join(map(str, values))

    expected = [
        [
            f'`{file.config}`',
            f'`{name}`',
            figures(file.result.values()),
            figures(getattr(TABLE_5[file.row], metric) for metric in file.result),
        ]
        for name, file in BASELINES.items()
    ]
    assert cells('| config | checkpoint') == expected


def test_latency_network_of_l2_has_the_counts_of_the_released_one():
    """Counted on the released code: 22.438 M parameters with the head of ImageNet, 22.18 GMACs at 512 x 512."""
    scope = {}
    with torch.device('meta'):
        exec(re.search(r'```python\n(.*?)```', PAGE, re.DOTALL)[1], scope)
        backbone = scope['backbone'].eval()
        found, _ = count('', backbone, backbone, torch.zeros(1, 3, 512, 512))
    head = 2 * 448 + 448 * 1000 + 1000  # batch norm and linear layer
    assert round((found.parameters + head) / 1e6, 3) == 22.438
    assert round((found.macs + 448 * 1000) / 1e9, 2) == 22.18
