"""An evaluation of a checkpoint."""

from typing import Annotated, Literal

from pydantic import Field, StrictFloat, StrictInt

from nvae_core.config.base import Config, PositiveInt, Seed
from nvae_core.config.training import RankPolicy

SAMPLES_IN_A_BATCH = 10_000
MAX_BATCH_SIZE = 100
ESTIMATES_NAME = "likelihoods.safetensors"
"""Of the artifact from which a later attempt goes on."""


class EvaluationOptions(Config):
    """Negative ELBO and importance-weighted likelihood of a checkpoint on a split, or a part."""

    kind: Literal["evaluate"] = "evaluate"
    checkpoint: str
    dataset: str
    split: Literal["train", "validation", "test"] = "test"
    first_image: Annotated[StrictInt, Field(ge=0, lt=2**31)] = 0
    num_images: PositiveInt | None = None  # None: all from there on
    importance_samples: Annotated[StrictInt, Field(ge=1, le=10_000)] = 1000
    # What a rank takes at a time, and what is lost at most when it is killed; None: 100 images,
    # and fewer where there are many samples of each.
    batch_size: Annotated[StrictInt, Field(ge=1, le=10_000)] | None = None
    seed: Seed = 0

    @property
    def images_per_batch(self) -> int:
        """The batch size, chosen or given."""
        chosen = min(MAX_BATCH_SIZE, max(1, SAMPLES_IN_A_BATCH // self.importance_samples))
        return self.batch_size or chosen


class EvaluateConfig(EvaluationOptions):
    """One run; its paths are absolute or relative to the run directory."""

    save_every_seconds: Annotated[StrictFloat, Field(gt=0)] = 60.0
    ranks: RankPolicy = RankPolicy()
    resume_from: str | None = None  # the file of estimates that an earlier run left
