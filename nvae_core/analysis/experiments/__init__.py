"""One module per analysis: its numbers, then its picture."""
