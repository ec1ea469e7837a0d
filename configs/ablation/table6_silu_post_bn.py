# Table 6, SiLU and batch norm after the projections: 1.10 ms, diverged.
_base_ = 'figure2_11_iformer_m.py'

model = dict(backbone=dict(type='mmiformer.IFormerSiLU'))
