# Table 6, SiLU and layer norm before the projections: 1.17 ms, 80.3 % top-1.
_base_ = 'figure2_11_iformer_m.py'

model = dict(backbone=dict(type='mmiformer.IFormerPreLNSiLU'))
