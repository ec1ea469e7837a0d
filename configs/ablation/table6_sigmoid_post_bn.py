# Table 6, sigmoid and batch norm after the projections, iFormer-M: 1.10 ms, 80.4 % top-1.
_base_ = 'figure2_11_iformer_m.py'
