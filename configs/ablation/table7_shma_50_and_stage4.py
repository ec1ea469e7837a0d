# Table 7, the last row: half of stage 3 and all of stage 4 as SHMA: 1.15 ms, 80.4 % top-1.
_base_ = 'figure2_09_shma.py'
