# Figure 2, "Stage Ratio": 1.01 ms, 79.1 % top-1.
_base_ = 'figure2_03_batch_norm.py'

model = dict(backbone=dict(arch=dict(conv_blocks=(2, 2, 18, 2))))
