"""Facts that stand in several places of a config: contradictions are found, and nothing that is right is refused."""

import pytest
from mmengine.config import Config, ConfigDict

from mmiformer.checks.facts import compare_facts
from mmiformer.engine.config import LOADERS, read_config
from mmiformer.hub import config_dir, get_config

from .zoo import compare, zoo_config, zoo_configs

DETECTOR, SEGMENTOR = 'mask_rcnn/iformer_t_shapes', 'sem_fpn/iformer_t_shapes'
SHAPES = ('disc', 'square', 'triangle', 'star', 'ring', 'cross')
LEVELS = ('error', 'warning', 'note')


def opened(name, **changes):
    cfg = get_config(name)
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return cfg


def found(cfg, checkpoint=None, loaders=LOADERS, levels=LEVELS):
    """(level, where, what and fix) of what is not in order."""
    return [
        (one.level, one.where, f'{one.what}\n{one.fix}')
        for one in compare_facts(cfg, loaders, checkpoint)
        if one.level in levels
    ]


def only(findings):
    assert len(findings) == 1, findings
    return findings[0]


@pytest.mark.parametrize('path', sorted(config_dir().glob('[!_]*/*.py')), ids=lambda path: '-'.join(path.parts[-2:]))
def test_the_configs_of_the_project_are_right(path):
    if Config.fromfile(path).get('default_scope') in ('mmdet', 'mmseg'):
        assert found(read_config(path)) == []
    else:
        assert path.parent.name in ('ablation', 'imagenet')


# ------------------------------------------------------------------------------------------------------------- heads


def heads(cfg, number):
    """The only error, which is for the heads; its fix is applied, and then nothing is wrong."""
    level, where, said = only(found(cfg))
    assert (level, where) == ('error', 'model') and f'but {number} classes' in said
    fix = said.splitlines()[1].removeprefix('Set ').partition(', or')[0].rstrip('.').split()
    cfg.merge_from_dict({key: int(value) for key, value in (setting.split('=') for setting in fix)})
    assert found(cfg) == []
    return said


def test_heads_of_mask_rcnn():
    cfg = opened(DETECTOR, model__roi_head__bbox_head__num_classes=80, model__roi_head__mask_head__num_classes=7)
    assert cfg.model.rpn_head.type == 'RPNHead'  # whose one class, the foreground, is right
    cfg.model.rpn_head.num_classes = 1
    assert 'roi_head.bbox_head.num_classes=80, roi_head.mask_head.num_classes=7, but 6' in heads(cfg, 6)


@pytest.mark.parametrize('number', [2, 7])
def test_a_head_with_too_few_or_too_many(number):
    heads(opened('examples/retinanet_iformer_m_1x_coco', model__bbox_head__num_classes=number), 80)


def test_heads_in_lists():
    cfg = opened('examples/cascade_mask_rcnn_iformer_m_1x_coco')
    cfg.model.roi_head.bbox_head[1].num_classes = 3
    assert 'roi_head.bbox_head.1.num_classes=3' in heads(cfg, 80)


def test_a_head_whose_number_is_left_out():
    cfg = opened(DETECTOR)
    del cfg.model.roi_head.mask_head['num_classes']
    assert 'roi_head.mask_head.num_classes=80' in heads(cfg, 6)  # mmdet's default


def test_one_mask_for_all_classes():
    cfg = opened(DETECTOR, model__roi_head__mask_head__class_agnostic=True, model__roi_head__mask_head__num_classes=1)
    assert found(cfg) == []


def test_things_and_stuff():
    heads(opened('examples/mask2former_iformer_m_50e_coco', model__panoptic_head__num_things_classes=79), 80)
    heads(opened('examples/mask2former_iformer_m_50e_coco', model__panoptic_fusion_head__num_stuff_classes=53), 80)
    cfg = Config.fromfile(zoo_config('mmdet/mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py'))
    assert found(cfg) == []
    cfg.model.panoptic_head.num_stuff_classes = 54
    heads(cfg, 133)
    cfg = Config.fromfile(zoo_config('mmdet/panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py'))
    cfg.model.semantic_head.num_things_classes = 81
    heads(cfg, 133)


def test_numbers_in_losses():
    cfg = opened('examples/mask2former_iformer_m_160k_ade20k')
    cfg.model.decode_head.loss_cls.class_weight = [1.0] * 20 + [0.1]
    level, where, said = only(found(cfg))
    assert (level, where) == ('error', 'model.decode_head.loss_cls.class_weight') and '21 weights for 150' in said
    cfg.model.decode_head.loss_cls.class_weight = [1.0] * 150  # and none for "no object"
    assert '[1.0] * 150 + [0.1]' in only(found(cfg))[2]
    weights = dict(type='CrossEntropyLoss', class_weight=[1.0] * 7)
    assert found(opened(SEGMENTOR, model__decode_head__loss_decode=weights)) == []
    weights['class_weight'] = [1.0] * 8
    assert '8 weights for 7 classes' in only(found(opened(SEGMENTOR, model__decode_head__loss_decode=weights)))[2]
    seesaw = dict(type='SeesawLoss', num_classes=1203)
    assert 'loss_cls.num_classes=1203' in heads(opened(DETECTOR, model__roi_head__bbox_head__loss_cls=seesaw), 6)


def test_heads_of_segmentors():
    heads(opened(SEGMENTOR, model__decode_head__num_classes=3), 7)
    cfg = opened('examples/upernet_iformer_m_160k_ade20k', model__auxiliary_head__num_classes=19)
    assert 'auxiliary_head.num_classes=19, but 150' in heads(cfg, 150)


def segmentor(classes, **head):
    cfg = opened(SEGMENTOR)
    for loader in LOADERS:
        cfg[loader].dataset.metainfo = dict(classes=classes)
    cfg.model.decode_head.update(num_classes=len(classes), **head)
    return cfg


def test_binary_segmentation():
    sigmoid = dict(type='CrossEntropyLoss', use_sigmoid=True)
    two = ('background', 'crack')
    assert found(segmentor(two)) == []
    assert found(segmentor(two, out_channels=1, loss_decode=sigmoid)) == []
    cfg = segmentor(two, out_channels=1, loss_decode=[sigmoid, dict(type='DiceLoss')])
    cfg.model.decode_head.num_classes = 1
    assert found(cfg) == []
    level, where, said = only(found(segmentor(two, out_channels=1)))
    assert (level, where) == ('error', 'model.decode_head') and 'always 0' in said and 'use_sigmoid=True' in said


def test_one_class_is_nothing_to_tell():
    said = found(segmentor(('crack',)))
    assert {level for level, *_ in said} == {'error'}
    assert {where for _, where, _ in said} == {'model.decode_head', *(f'{loader}.dataset' for loader in LOADERS)}


def test_boundaries_are_no_classes():
    cfg = Config.fromfile(zoo_config('mmseg/stdc/stdc1_4xb12-80k_cityscapes-512x1024.py'))
    assert [head.num_classes for head in cfg.model.auxiliary_head] == [19, 19, 2]
    assert found(cfg) == []


# ----------------------------------------------------------------------------------------------------------- classes


def name(cfg, loader, classes):
    cfg[loader].dataset.metainfo = dict(cfg[loader].dataset.get('metainfo') or {}, classes=classes)
    return cfg


@pytest.mark.parametrize('config', [DETECTOR, SEGMENTOR])
def test_another_order_in_validation(config):
    cfg = opened(config)
    cfg.test_dataloader = cfg.test_dataloader.copy()
    classes = cfg.train_dataloader.dataset.metainfo.classes
    name(cfg, 'val_dataloader', classes[::-1])
    level, where, said = only(found(cfg, loaders=LOADERS[:2]))
    assert (level, where) == ('error', 'val_dataloader.dataset') and 'another order' in said
    assert f'label 0 is {classes[-1]!r} and there {classes[0]!r}' in said
    # Tested with the validation's order, a checkpoint of the training's is refused, whatever the config says.
    recorded = dict(meta=dict(dataset_meta=dict(classes=classes)))
    name(name(cfg, 'test_dataloader', classes[::-1]), 'train_dataloader', classes[::-1])
    level, where, said = only(found(cfg, recorded, ['test_dataloader']))
    assert (level, where) == ('error', 'test_dataloader.dataset') and 'those of the checkpoint' in said


def test_other_classes():
    cfg = name(opened(DETECTOR), 'val_dataloader', SHAPES[:5])
    level, where, said = only(found(cfg))
    assert (level, where) == ('error', 'val_dataloader.dataset') and '5 for 6, 1 are missing (cross)' in said
    cfg = name(opened(DETECTOR), 'val_dataloader', (*SHAPES[:5], 'car'))
    assert '6 for 6, 1 are missing (cross), 1 are new (car)' in only(found(cfg))[2]


def test_spelling_does_not_matter():
    cfg = name(opened(DETECTOR), 'val_dataloader', ('Disc', *SHAPES[1:]))
    assert found(cfg) == []
    old = dict(meta=dict(CLASSES=(' disc', 'SQUARE', *SHAPES[2:])))  # of older versions
    assert found(opened(DETECTOR), old) == []


def test_what_a_run_does_not_use_is_a_warning():
    cfg = name(opened(DETECTOR), 'test_dataloader', SHAPES[::-1])
    assert only(found(cfg, loaders=LOADERS[:2]))[:2] == ('warning', 'test_dataloader.dataset')
    # Tested is what was trained.
    assert found(cfg, dict(meta=dict(dataset_meta=dict(classes=SHAPES[::-1]))), ['test_dataloader']) == []
    # A checkpoint that records nothing was trained as the config says.
    assert only(found(cfg, dict(meta={}), ['test_dataloader']))[:2] == ('error', 'test_dataloader.dataset')


def test_resuming_with_other_classes():
    recorded = dict(meta=dict(dataset_meta=dict(classes=SHAPES[::-1])))
    said = found(opened(DETECTOR), recorded, LOADERS[:2])
    assert [one[:2] for one in said] == [
        ('error', 'train_dataloader.dataset'),
        ('error', 'val_dataloader.dataset'),
        ('warning', 'test_dataloader.dataset'),
    ]


def test_classes_of_data_sets_that_are_joined():
    cfg = opened(DETECTOR)
    one = cfg.train_dataloader.dataset
    other = ConfigDict(one, metainfo=dict(classes=SHAPES[::-1]))
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[one, other])
    )
    level, where, said = only(found(cfg))
    assert (level, where) == ('error', 'train_dataloader.dataset.dataset.datasets.1') and 'another order' in said


def test_classes_of_ade20k_may_be_selected():
    cfg = opened('sem_fpn/iformer_m_40k')
    for loader in LOADERS:
        cfg[loader].dataset.metainfo = dict(classes=('sky', 'wall'))
    heads(cfg, 2)


def test_classes_in_a_file(tmp_path):
    (tmp_path / 'classes.txt').write_text('\n'.join(SHAPES))
    assert found(name(opened(DETECTOR), 'val_dataloader', str(tmp_path / 'classes.txt'))) == []
    level, where, said = only(found(name(opened(DETECTOR), 'val_dataloader', 'disc')))
    assert (level, where) == ('error', 'val_dataloader.dataset') and "classes=('disc',)" in said


@pytest.mark.parametrize('key', ['CLASSES', 'class', 'clases'])
def test_keys_that_are_not_read(key):
    cfg = opened('mask_rcnn/iformer_m_1x')
    cfg.val_dataloader.dataset.metainfo = {key: SHAPES}
    level, where, said = only(found(cfg))
    assert (level, where) == ('error', 'val_dataloader.dataset') and f'metainfo.{key} is not read' in said
    assert 'Call it classes' in said


def test_palettes():
    cfg = opened(DETECTOR)
    cfg.val_dataloader.dataset.metainfo.palette = [(1, 2, 3)] * 5
    level, where, said = only(found(cfg))  # only drawing needs them
    assert (level, where) == ('warning', 'val_dataloader.dataset') and '6 classes and a palette of 5 colors' in said
    cfg.custom_hooks = [dict(type='mmiformer.ValidationPictures', number=1)]
    assert only(found(cfg))[:2] == ('error', 'val_dataloader.dataset')
    cfg = opened(SEGMENTOR)
    cfg.val_dataloader.dataset.metainfo.palette = [[1, 2, 3]] * 8
    assert only(found(cfg))[:2] == ('error', 'val_dataloader.dataset')
    names = tuple(f'class {number}' for number in range(81))
    cfg = opened('examples/retinanet_iformer_m_1x_coco', model__bbox_head__num_classes=81)
    for loader in LOADERS:
        name(cfg, loader, names)
    assert {(level, 'palette of 80' in said) for level, _, said in found(cfg)} == {('warning', True)}


def test_what_is_not_known_is_said():
    cfg = opened(DETECTOR)
    for loader in LOADERS:
        cfg[loader].dataset = dict(type='MyDataset')
    assert {(level, where) for level, where, _ in found(cfg)} == {('note', f'{loader}.dataset') for loader in LOADERS}
    cfg = opened(DETECTOR, model__language_model=dict(type='BertModel'), model__roi_head__bbox_head__num_classes=256)
    level, where, said = only(found(cfg))
    assert (level, where) == ('note', 'model') and 'reads text' in said


# ---------------------------------------------------------------------------------------------------------- channels


def gray(cfg, *loaders):
    for loader in loaders:
        for transform in cfg[loader].dataset.pipeline:
            if transform.type == 'LoadImageFromFile':
                transform.color_type = 'grayscale'
    return cfg


ONE_CHANNEL = dict(model__data_preprocessor__mean=[116.0], model__data_preprocessor__std=[57.0])
ONE_CHANNEL.update(model__data_preprocessor__bgr_to_rgb=False, model__backbone__in_channels=1)


@pytest.mark.parametrize('config', [DETECTOR, SEGMENTOR])
def test_gray_images(config):
    assert found(gray(opened(config, **ONE_CHANNEL), *LOADERS)) == []
    said = found(gray(opened(config, **ONE_CHANNEL), 'train_dataloader'))
    assert [one[:2] for one in said] == [('error', f'{loader}.dataset') for loader in LOADERS[1:]]
    assert all('have 3 channels, and model.backbone takes 1' in one[2] for one in said)
    said = found(gray(opened(config, **{**ONE_CHANNEL, 'model__backbone__in_channels': 3}), *LOADERS))
    assert [one[:2] for one in said] == [('error', f'{loader}.dataset') for loader in LOADERS]
    assert all('model.backbone.in_channels=1' in one[2] for one in said)


def test_gray_images_with_three_means():
    """mmseg spreads the one channel over the three means; mmdet asserts that there are three."""
    assert found(gray(opened(SEGMENTOR), *LOADERS)) == []
    said = found(gray(opened(SEGMENTOR, model__backbone__in_channels=1), *LOADERS))
    assert len(said) == 3 and all('have 1 channel, and model.data_preprocessor normalizes 3' in one[2] for one in said)
    assert {where for _, where, _ in found(gray(opened(DETECTOR), *LOADERS))} == {f'{one}.dataset' for one in LOADERS}
    cfg = gray(opened(DETECTOR, **{**ONE_CHANNEL, 'model__data_preprocessor__bgr_to_rgb': True}), *LOADERS)
    assert {where for _, where, _ in found(cfg)} == {'model.data_preprocessor'}


def test_gray_images_made_in_the_pipeline():
    cfg = opened(SEGMENTOR, **ONE_CHANNEL)
    for loader in LOADERS:
        cfg[loader].dataset.pipeline.insert(1, dict(type='RGB2Gray', out_channels=1))
    assert found(cfg) == []


def test_normalization():
    mean = 'model__data_preprocessor__mean'
    assert 'means and 3 deviations' in only(found(opened(SEGMENTOR, **{mean: [1, 2]})))[2]
    assert 'std=[' in only(found(opened(SEGMENTOR, **{mean: None})))[2]
    fractions = {mean: [0.485, 0.456, 0.406], 'model__data_preprocessor__std': [0.229, 0.224, 0.225]}
    level, where, said = only(found(opened(SEGMENTOR, **fractions)))
    assert (level, where) == ('warning', 'model.data_preprocessor') and 'by 255' in said
    level, where, said = only(found(opened('mask_rcnn/iformer_m_1x', model__data_preprocessor__bgr_to_rgb=False)))
    assert (level, where) == ('warning', 'model.data_preprocessor') and 'bgr_to_rgb=True' in said
    plain = opened('mask_rcnn/iformer_m_1x', model__data_preprocessor__bgr_to_rgb=False, model__backbone__init_cfg=None)
    assert found(plain) == []  # from random weights any will do


def test_what_follows_the_backbone():
    level, where, said = only(found(opened('mask_rcnn/iformer_m_1x', model__backbone__arch='l')))
    assert (level, where) == ('error', 'model.neck') and '48, 96, 256, 384' in said
    assert 'model.neck.in_channels=[48, 96, 256, 384]' in said
    cfg = opened('examples/rtmdet_iformer_m_100e_coco', model__backbone__out_indices=(0, 1, 2))
    assert 'model.neck.in_channels=[48, 96, 192]' in only(found(cfg))[2]
    cfg = opened('examples/upernet_iformer_m_160k_ade20k', model__auxiliary_head__in_channels=256)
    level, where, said = only(found(cfg))
    assert (level, where) == ('error', 'model.auxiliary_head') and 'model.auxiliary_head.in_channels=192' in said
    cfg = opened('examples/upernet_iformer_m_160k_ade20k', model__auxiliary_head__in_index=4)
    assert 'returns 4 maps' in only(found(cfg))[2]
    assert found(opened('mask_rcnn/efficientformer_l1_1x', model__neck__in_channels=[48, 96, 224, 447]))


def test_arguments_that_building_refuses_are_left_to_it():
    assert found(opened(DETECTOR, model__backbone__arch='xl')) == []


# ---------------------------------------------------------------------------------------------------------- ignoring


def test_reduce_zero_label_of_data_set_and_pipeline():
    cfg = opened(SEGMENTOR)
    assert cfg.train_dataloader.dataset.reduce_zero_label and cfg.train_dataloader.dataset.pipeline[1].reduce_zero_label
    cfg.train_dataloader.dataset.pipeline[1].reduce_zero_label = False
    level, where, said = only(found(cfg))
    assert (level, where) == ('error', 'train_dataloader.dataset')
    assert 'reduce_zero_label=True, and False in its LoadAnnotations' in said
    cfg.train_dataloader.dataset.pipeline[1].reduce_zero_label = None  # the fix
    assert found(cfg) == []
    cfg = opened('sem_fpn/iformer_m_40k')  # ADE20K's type has it
    cfg.val_dataloader.dataset.reduce_zero_label = False
    said = found(cfg)
    assert {one[:2] for one in said} == {('error', 'val_dataloader.dataset')} and len(said) == 2
    cfg.val_dataloader.dataset.pipeline[2].reduce_zero_label = False
    assert 'True for train_dataloader.dataset' in only(found(cfg, loaders=['val_dataloader']))[2]
    cfg.val_dataloader.dataset.data_root = 'data/elsewhere'
    assert only(found(cfg))[0] == 'warning'


def test_reduce_zero_label_of_a_metric():
    level, where, said = only(found(opened(SEGMENTOR, val_evaluator__reduce_zero_label=False)))
    assert (level, where) == ('warning', 'val_evaluator') and 'the data set decides' in said


def test_ignore_index():
    level, where, said = only(found(opened(SEGMENTOR, model__decode_head__ignore_index=0)))
    assert (level, where) == ('error', 'model.decode_head') and 'reduce_zero_label=True' in said
    cfg = opened('examples/upernet_iformer_m_160k_ade20k', model__auxiliary_head__ignore_index=254)
    level, where, said = only(found(cfg))
    assert (level, where) == ('error', 'model.auxiliary_head') and '255 in model.decode_head' in said


def test_ignoring_a_class():
    cfg = opened(SEGMENTOR, model__decode_head__ignore_index=0)
    for loader in LOADERS:
        cfg[loader].dataset.reduce_zero_label = False
        for transform in cfg[loader].dataset.pipeline:
            transform.pop('reduce_zero_label', None)
    said = found(cfg)
    assert [one[:2] for one in said] == [
        ('warning', 'model.decode_head'),
        ('warning', 'model.data_preprocessor'),
        ('warning', 'val_evaluator'),
        ('warning', 'test_evaluator'),
    ]
    assert "'background'" in said[0][2]
    cfg.model.data_preprocessor.seg_pad_val = cfg.val_evaluator.ignore_index = cfg.test_evaluator.ignore_index = 0
    assert [one[:2] for one in found(cfg)] == [('warning', 'model.decode_head')]


# ----------------------------------------------------------------------------------------------------------- settings


def test_what_the_checkpoint_was_trained_with():
    cfg = opened(DETECTOR)
    checkpoint = dict(meta=dict(cfg=cfg.pretty_text))
    assert found(cfg, checkpoint, ['test_dataloader']) == []
    cfg.merge_from_dict({'model.data_preprocessor.mean': [1.0, 2.0, 3.0], 'model.backbone.window_size': 16})
    said = found(cfg, checkpoint, ['test_dataloader'])
    assert [one[:2] for one in said] == [('warning', 'model.data_preprocessor'), ('warning', 'model.backbone')]
    assert 'Set model.backbone.window_size=8' in said[1][2]
    del cfg.model.backbone['window_size']  # by default 16, too
    assert len(found(cfg, checkpoint, ['test_dataloader'])) == 2


# ----------------------------------------------------------------------------------------------------------- the zoo


def test_a_sample_of_the_toolboxes_zoos_is_right():
    """Every 8th config; docs/checks.md has the count of all."""
    results = {path: compare(path) for path in zoo_configs()[::8]}
    compared = {path: found for path, found in results.items() if isinstance(found, list)}
    assert len(compared) > 160
    assert not [(path, one) for path, found in compared.items() for one in found if one.level == 'error']
    assert sum(one.level == 'fact' for found in compared.values() for one in found) > 2 * len(compared)
