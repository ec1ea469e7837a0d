# Table 2, depthwise convolutions of 3x3: 1.00 ms.
_base_ = 'figure2_05_stage_ratio.py'

model = dict(backbone=dict(type='mmiformer.IFormerSmallKernel'))
