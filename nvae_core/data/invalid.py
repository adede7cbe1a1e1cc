"""The failure that ends a run when its images cannot be used."""


class InvalidDataset(ValueError):
    """A data set is missing, damaged, or does not fit; the message says which file and why."""
