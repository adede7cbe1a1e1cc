"""NVAE: the model, its training, its evaluation and its sampling; knows nothing of the services."""
