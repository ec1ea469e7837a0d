# Figure 2, "Positional Embedding", which makes it iFormer-M: 1.10 ms, 80.4 % top-1.
_base_ = 'figure2_10_width.py'

model = dict(backbone=dict(type='mmiformer.IFormer'))
