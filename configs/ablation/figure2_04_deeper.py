# Figure 2, "Going Deeper": 1.05 ms, 78.8 % top-1.
_base_ = 'figure2_03_batch_norm.py'

model = dict(backbone=dict(arch=dict(conv_blocks=(3, 3, 9, 3))))
