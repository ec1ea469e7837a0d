# Table 2, depthwise convolutions of 7x7: 1.01 ms.
_base_ = 'figure2_05_stage_ratio.py'
