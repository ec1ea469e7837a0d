# Table 10, narrower FFNs after SHMA: 1.07 ms, 79.8 % top-1. The counts need a ratio of 2, which the text does not give.
_base_ = 'figure2_09_shma.py'

model = dict(backbone=dict(arch=dict(ffn_ratio=2)))
