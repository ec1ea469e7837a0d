# Table 11, depthwise convolutions in all FFNs: 1.43 ms, 80.5 % top-1.
_base_ = 'figure2_11_iformer_m.py'

model = dict(backbone=dict(type='mmiformer.IFormerMixingFFN'))
