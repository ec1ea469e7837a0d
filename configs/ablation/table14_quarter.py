# Table 14, "+ attention on 1/4 channels": 1.02 ms.
_base_ = 'figure2_08_sha.py'

model = dict(backbone=dict(type='mmiformer.IFormerQuarterSHA'))
