# Tables 16 and 17, hybrid SHMA, windows cut in channel chunks: 4.0 ms at 512 x 512.
_base_ = 'table16_hybrid.py'

model = dict(backbone=dict(num_chunks=16))
