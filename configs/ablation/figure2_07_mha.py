# Figure 2 and Table 1, the multi-head baseline: 1.40 ms, 79.9 % top-1. Heads of 32 channels are this project's choice.
_base_ = '../_base_/ablation_300e.py'

model = dict(backbone=dict(type='mmiformer.IFormerMHA'))
