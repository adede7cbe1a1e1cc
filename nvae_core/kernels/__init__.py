"""Kernels in C for training on a CPU; without them torch's own operations do the same."""
