"""What an attempt reads: data sets, checkpoints, sources, metrics of other jobs."""
