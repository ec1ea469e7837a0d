# Semantic FPN on an iFormer. A child sets arch, checkpoint and the neck's in_channels.
_base_ = 'sem_fpn.py'

model = dict(
    backbone=dict(
        type='mmiformer.IFormer',
        norm_eval=True,  # released recipe: frozen batch norm statistics, trained affine
        drop_path_rate=0.0,  # released recipe
        init_cfg=dict(type='Pretrained'),
    ),
)
