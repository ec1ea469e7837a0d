"""Exports: iFormer for runtimes other than torch, one small class each."""

from .networks import NETWORKS, Network, network_of
from .runtime import RUNNABLE, RUNTIMES, Runtime, combinations, find_runtime, write

__all__ = [
    'NETWORKS',
    'RUNNABLE',
    'RUNTIMES',
    'Network',
    'Runtime',
    'combinations',
    'find_runtime',
    'network_of',
    'write',
]
