"""What the command lines share: reading a config, settling how a run starts, running it, reporting it.

Needs one of the toolboxes, mmdet or mmseg; the rest of the package does not.
"""
