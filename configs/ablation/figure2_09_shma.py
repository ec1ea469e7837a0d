# Figure 2, "SHMA": 1.15 ms, 80.4 % top-1.
_base_ = '../_base_/ablation_300e.py'
