"""Reproducing the paper's tables: rows with their configs and weights, runs and their results, and the report."""
