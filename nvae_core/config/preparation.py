"""The preparation of a data set."""

from typing import Literal

from nvae_core.config.base import Config, Seed
from nvae_core.config.sources import DatasetSource


class PrepareDatasetConfig(Config):
    """Turns a source of images into a prepared data set in the run directory."""

    kind: Literal["prepare_dataset"] = "prepare_dataset"
    source: DatasetSource
    seed: Seed = 0  # of the split, where the source has none
    origin: str | None = None  # recorded as the path, where the source is a copy
