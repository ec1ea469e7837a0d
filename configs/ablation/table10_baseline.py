# Table 10, the baseline: 1.15 ms, 80.4 % top-1.
_base_ = 'figure2_09_shma.py'
