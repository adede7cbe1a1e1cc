"""The model: hierarchy, layers, cells, towers and distributions."""
