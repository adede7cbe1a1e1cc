"""Images drawn from a checkpoint."""

from typing import Annotated, Literal

from pydantic import Field

from nvae_core.config.base import Config, Seed, Temperature


class SampleConfig(Config):
    """One grid of images drawn from the prior of a checkpoint."""

    kind: Literal["sample"] = "sample"
    checkpoint: str
    temperature: Temperature = 1.0
    num_images: Annotated[int, Field(ge=1, le=1024)] = 64
    batch_norm: Literal["running", "re-estimate"] = "running"
    seed: Seed = 0
