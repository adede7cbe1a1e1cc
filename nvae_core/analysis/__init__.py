"""Analyses: what a checkpoint or a run does, as numbers and as pictures."""
