"""Measured against the libraries themselves: `python -m benchmarks [--short]`."""
