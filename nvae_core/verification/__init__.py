"""Checks our model against numbers of the published implementation, quantity by quantity."""
