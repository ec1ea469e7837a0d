# Tables 16 and 17, global SHMA: fails on the phone at 512 x 512.
_base_ = 'figure2_11_iformer_m.py'
