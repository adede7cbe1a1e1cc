"""An evaluation of a checkpoint."""

from typing import Annotated, Literal

from pydantic import Field

from nvae_core.config.base import Config, PositiveInt, Seed


class EvaluateConfig(Config):
    """Negative ELBO and importance-weighted likelihood of a checkpoint on one split."""

    kind: Literal["evaluate"] = "evaluate"
    checkpoint: str
    dataset: str
    split: Literal["train", "validation", "test"] = "test"
    importance_samples: Annotated[int, Field(ge=1, le=10_000)] = 1000
    batch_size: PositiveInt = 100
    seed: Seed = 0
