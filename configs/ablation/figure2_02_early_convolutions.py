# Figure 2, "Early Convolutions": + 0.1 ms, 76.7 % top-1.
_base_ = 'figure2_01_convnext.py'

model = dict(backbone=dict(type='mmiformer.LightConvNeXtWithStem'))
