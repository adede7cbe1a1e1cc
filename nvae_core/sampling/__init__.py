"""Images drawn from the prior of a checkpoint."""
