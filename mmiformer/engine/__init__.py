"""What the command lines share: opening a config, settling how a run starts, running it, and how they end.

Needs one of the toolboxes, mmdet or mmseg; the rest of the package does not.
"""
