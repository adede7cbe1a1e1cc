"""Reads what the published implementation writes."""
