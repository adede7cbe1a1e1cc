"""Reads checkpoints of the published implementation."""
