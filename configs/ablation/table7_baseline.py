# Table 7, the baseline of conv blocks alone: 1.0 ms, 79.4 % top-1.
_base_ = 'figure2_06_kernel_size.py'
