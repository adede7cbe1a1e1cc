"""Looking inside models and runs: numbers, and pictures of them."""
