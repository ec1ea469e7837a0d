"""`--cfg-options` that a config does not take, in each tool that has them."""

from __future__ import annotations

import pytest

from .ending import cut_off, fault, lines

LINES = """
train {segmentor} --data-root {ade} --work-dir {out}
test {segmentor} {weights} --data-root {ade} --work-dir {out}
predict {segmentor} {weights} {image} --out {out}
check_data {segmentor} --data-root {ade} --out {out}
browse_dataset {segmentor} --data-root {ade} --out {out} --split train
benchmark_training {segmentor} --data-root {ade} --rounds 1
"""
# What no tool takes: words that are no KEY=VALUE, keys that there are not, and keys below what has none.
ANYWHERE = """
nothing.at.all=1
modle=1
model.bakcbone.arch=t
model.backbone.window_sizes=3
train_dataloader.batchsize=3
train_dataloader.dataset.pipeline.99.scale=3
train_dataloader.dataset.pipeline.x=3
train_dataloader.dataset.pipeline.-1.scale=3
train_dataloader.batch_size.x=3
optim_wrapper.optimzer.lr=1
default_scope.x=1
model=3
model.backbone=x
train_dataloader=x
test_dataloader=3
train_dataloader.dataset=3
optim_wrapper=3
default_hooks=3
model.backbone={type:x}
model.backbone.arch=dict(a=1)
"""
MODEL = """
model.type=NoSuchModel
model.type=3
model.backbone.type=NoSuchBackbone
model.backbone.type=mmdet.NoSuchBackbone
model.backbone.type=3
model.backbone.arch.channels=[8,16]
model.backbone.arch.channels=x
model.backbone.arch.head_dims=[0,0,0,0]
model.backbone.window_size=-1
model.backbone.window_size=x
model.backbone.drop_path_rate=2
model.backbone.num_chunks=0
model.backbone.out_indices=[7]
model.backbone.depth=50
model.neck.in_channels=[1,2,3,4]
model.neck.in_channels=[1]
model.neck.in_channels=x
model.neck.out_channels=x
model.neck.num_outs=1
model.neck.style=pytorch
model.decode_head.num_classes=3
model.decode_head.num_classes=x
model.decode_head.num_classes=-1
model.decode_head.in_channels=3
model.decode_head.in_index=9
model.decode_head.loss_decode.type=NoSuchLoss
model.data_preprocessor.type=NoSuchPreprocessor
model.data_preprocessor.mean=x
model.data_preprocessor.std=[1,2]
"""
TRAIN_DATA = """
train_dataloader.batch_size=0
train_dataloader.batch_size=-1
train_dataloader.batch_size=x
train_dataloader.batch_size=1.5
train_dataloader.batch_size=99999999999999999999
train_dataloader.num_workers=-1
train_dataloader.num_workers=x
train_dataloader.num_workers=99999999999999999999
train_dataloader.dataset.type=NoSuchDataset
train_dataloader.dataset.data_root=none
train_dataloader.dataset.data_root=3
train_dataloader.dataset.data_prefix.img_path=none
train_dataloader.dataset.data_prefix.seg_map_path=none
train_dataloader.dataset.img_suffix=.gif
train_dataloader.dataset.seg_map_suffix=.gif
train_dataloader.dataset.pipeline.0.type=NoSuchTransform
train_dataloader.dataset.pipeline.0.x=1
train_dataloader.dataset.pipeline.2.scale=x
train_dataloader.dataset.pipeline.3.crop_size=-1
train_dataloader.dataset.pipeline=x
train_dataloader.dataset.indices=x
train_dataloader.sampler.type=NoSuchSampler
train_dataloader.sampler=x
"""
TEST_DATA = TRAIN_DATA.replace('train_', 'test_')
TRAIN = """
train_cfg.max_iters=0
train_cfg.max_iters=-1
train_cfg.max_iters=x
train_cfg.max_iters=1.5
train_cfg.type=NoSuchLoop
train_cfg.val_interval=x
train_cfg.val_interval=0
optim_wrapper.type=NoSuchWrapper
optim_wrapper.optimizer.type=NoSuchOptimizer
optim_wrapper.optimizer.lr=x
optim_wrapper.optimizer.lr=-1
optim_wrapper.optimizer.momentun=1
optim_wrapper.accumulative_counts=0
optim_wrapper.clip_grad.max_norm=x
optim_wrapper.paramwise_cfg.norm_decay_mlt=0
optim_wrapper.paramwise_cfg.norm_decay_mult=x
optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mul=0.1
optim_wrapper.paramwise_cfg.custom_keys.backbone.decay_mult=x
param_scheduler=x
param_scheduler.0.type=NoSuchScheduler
param_scheduler.0.end=x
param_scheduler.0.start_factor=2
default_hooks.checkpoint.interval=x
default_hooks.checkpoint.max_keep_chkpts=3
default_hooks.checkpoint.some_thing=3
default_hooks.checkpoint.out_dir=/dev/null/x
default_hooks.checkpoint.save_best=NoSuchMetric
default_hooks.logger.interval=0
default_hooks.logger.type=NoSuchHook
default_hooks.bad_loss.patience=x
default_hooks.broken_data.limit=x
default_hooks.broken_data=x
default_hooks.bad_loss=True
custom_hooks.0.type=NoSuchHook
custom_hooks.0.momentum=3
custom_hooks=x
randomness.seed=x
env_cfg.mp_cfg.mp_start_method=x
env_cfg.cudnn_benchmark.x=3
val_evaluator.type=NoSuchMetric
val_evaluator.iou_metrics=[mFoo]
val_evaluator=x
val_dataloader=None
val_cfg=None
log_level=NOSUCH
visualizer.type=NoSuchVisualizer
load_from=none.pth
auto_scale_lr=x
"""
TEST = """
test_evaluator.type=NoSuchMetric
test_evaluator.iou_metrics=[mFoo]
test_evaluator.iou_metrics=x
test_evaluator.iou_metric=mIoU
test_evaluator=x
test_evaluator=None
test_dataloader=None
test_cfg=None
test_cfg.type=NoSuchLoop
test_evaluator.output_dir=/dev/null/x
"""
OPTIONS = dict(
    train=ANYWHERE + MODEL + TRAIN_DATA + TRAIN,
    test=ANYWHERE + TEST_DATA + TEST,
    predict=ANYWHERE + MODEL,
    check_data=ANYWHERE,
    browse_dataset=ANYWHERE + TRAIN_DATA,
    benchmark_training=ANYWHERE + MODEL + TRAIN_DATA,
)


@pytest.mark.parametrize('line', lines(LINES))
def test_wrong_options(right, tmp_path, monkeypatch, capsys, line):
    monkeypatch.chdir(tmp_path)
    cut_off(monkeypatch, tmp_path / 'cache')
    tool, *words = line.split()
    wrong = {}
    for number, option in enumerate(lines(OPTIONS[tool])):
        filled = [word.format(out=tmp_path / f'out{number}', **right) for word in words]
        if found := fault(monkeypatch, capsys, tool, [*filled, '--cfg-options', option]):
            wrong[option] = found
    assert not wrong
