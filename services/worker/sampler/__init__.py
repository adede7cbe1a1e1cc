"""The resident sampler: its process, and the runner's client of it."""
