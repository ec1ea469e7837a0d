"""Measuring backbones side by side: time, memory, share of what the machine can do."""
