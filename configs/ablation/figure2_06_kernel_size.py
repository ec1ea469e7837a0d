# Figure 2, "Kernel Size", a stem of 5x5 convolutions: 1.01 ms, 79.4 % top-1.
_base_ = 'figure2_05_stage_ratio.py'

model = dict(backbone=dict(type='mmiformer.IFormer'))
