# Table 1, the multi-head baseline: 1.40 ms, 79.9 % top-1.
_base_ = 'figure2_07_mha.py'
