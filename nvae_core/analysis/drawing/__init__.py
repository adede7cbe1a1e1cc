"""Pictures of the numbers that analyses compute; the only part that knows matplotlib."""
