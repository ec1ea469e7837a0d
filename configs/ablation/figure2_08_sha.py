# Figure 2, Tables 1 and 14, the single-head baseline: 1.12 ms, 79.8 % top-1 (Table 14: 79.4).
_base_ = '../_base_/ablation_300e.py'

model = dict(backbone=dict(type='mmiformer.IFormerSHA'))
