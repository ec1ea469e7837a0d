# The teacher of iformer_t_distill_shapes.py, trained as iFormer-T is. docs/imagenet.md has its score.
_base_ = 'iformer_t_shapes.py'

work_dir = 'work_dirs/imagenet_iformer_m_shapes'
model = dict(arch='m')
