"""A training run: its model, data, optimization, and what it leaves on the way."""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictFloat, StrictInt, model_validator

from nvae_core.config.base import Config, PositiveInt, Seed, Temperatures
from nvae_core.config.compute import ComputeConfig, check_micro_batches
from nvae_core.config.model import ModelConfig
from nvae_core.config.optimization import OptimizationConfig


class CheckpointPolicy(Config):
    """When training saves a checkpoint, and which ones the run directory and the store keep."""

    every_steps: PositiveInt = 1000
    keep_last: PositiveInt = 3
    keep_every_steps: PositiveInt | None = None  # those of its multiples are kept as well

    def is_milestone(self, step: int) -> bool:
        """Whether the checkpoint of this step is kept because of it."""
        return self.keep_every_steps is not None and step % self.keep_every_steps == 0


class SamplePolicy(Config):
    """When training draws sample grids, and at which temperatures; 0 means only at the end."""

    every_steps: Annotated[StrictInt, Field(ge=0)] = 0
    temperatures: Annotated[Temperatures, Field(max_length=8)] = (0.8,)


class ValidationPolicy(Config):
    """When training measures the negative ELBO on the test split; 0 means never."""

    every_steps: Annotated[StrictInt, Field(ge=0)] = 0
    num_images: PositiveInt = 1000  # at most


class RankPolicy(Config):
    """How long the ranks wait for each other before the run ends."""

    join_timeout_seconds: Annotated[StrictFloat, Field(gt=0)] = 300.0
    stall_timeout_seconds: Annotated[StrictFloat, Field(gt=0)] = 1800.0  # without any progress


class TrainConfig(Config):
    """Everything one training run needs; paths are absolute or relative to the run directory."""

    kind: Literal["train"] = "train"
    model: ModelConfig
    optimization: OptimizationConfig
    dataset: str  # folder of a prepared data set
    seed: Seed = 0
    compute: ComputeConfig = ComputeConfig()
    checkpoint: CheckpointPolicy = CheckpointPolicy()
    samples: SamplePolicy = SamplePolicy()
    validation: ValidationPolicy = ValidationPolicy()
    ranks: RankPolicy = RankPolicy()
    report_every_steps: PositiveInt = 10
    resume_from: str | None = None  # folder of a checkpoint

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_micro_batches(self.optimization, self.compute)
        return self
