# Tables 16 and 17, hybrid SHMA on windows: 11.46 ms at 512 x 512.
_base_ = 'figure2_11_iformer_m.py'

model = dict(backbone=dict(window_size=16, window_layout='paper', num_chunks=1))
