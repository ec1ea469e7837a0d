# iformer_t_shapes.py with a teacher: the iFormer-M of iformer_m_shapes.py, which is to be trained first.
# docs/imagenet.md has its score.
_base_ = 'iformer_t_shapes.py'

work_dir = 'work_dirs/imagenet_iformer_t_distill_shapes'
model = dict(
    distillation=True,
    teacher=dict(
        type='mmiformer.IFormerClassifier',
        arch='m',
        num_classes=6,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/imagenet_iformer_m_shapes/epoch_6.pth'),
    ),
)
