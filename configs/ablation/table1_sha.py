# Table 1, the single-head baseline: 1.12 ms, 79.8 % top-1.
_base_ = 'figure2_08_sha.py'
