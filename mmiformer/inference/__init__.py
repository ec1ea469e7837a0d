"""Predicting images and videos, and drawing what a network is fed. Needs one of the toolboxes, mmdet or mmseg."""
