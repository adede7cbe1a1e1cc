"""A node's worker, and the runner that owns one attempt."""
