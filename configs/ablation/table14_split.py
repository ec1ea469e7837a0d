# Table 14, "+ split": 1.18 ms.
_base_ = 'figure2_08_sha.py'

model = dict(backbone=dict(type='mmiformer.IFormerSplitSHA'))
