"""Exports: iFormer for runtimes other than torch, one small class each."""

from .networks import NETWORKS, Network, network_of
from .runtime import RUNTIMES, Runtime, find_runtime, write

__all__ = ['NETWORKS', 'RUNTIMES', 'Network', 'Runtime', 'find_runtime', 'network_of', 'write']
