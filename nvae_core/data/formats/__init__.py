"""One module for each format that images are published in."""
