"""Training: the loop, its steps and schedules, checkpoints, and leaving in order."""
