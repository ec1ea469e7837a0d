# Table 11, none, iFormer-M: 1.10 ms, 80.4 % top-1.
_base_ = 'figure2_11_iformer_m.py'
