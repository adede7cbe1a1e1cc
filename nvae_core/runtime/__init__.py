"""How programs run: memory, stopping, stalls."""
