# Table 14, the single-head baseline: 1.12 ms, 79.4 % top-1 (Table 1: 79.8).
_base_ = 'figure2_08_sha.py'
