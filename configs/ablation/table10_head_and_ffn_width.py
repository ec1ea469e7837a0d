# Table 10, narrower heads and FFNs: 1.10 ms, 80.2 % top-1.
_base_ = 'figure2_10_width.py'
