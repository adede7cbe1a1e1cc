"""What one run does: train, evaluate, sample or prepare a data set."""

from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from nvae_core.config.base import Config, PositiveInt, Seed, Temperature
from nvae_core.config.compute import ComputeConfig, check_micro_batches
from nvae_core.config.model import ModelConfig
from nvae_core.config.optimization import OptimizationConfig
from nvae_core.config.sources import DatasetSource


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

    every_steps: Annotated[int, Field(ge=0)] = 0
    temperatures: Annotated[tuple[Temperature, ...], Field(max_length=8)] = (0.8,)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({f"{temperature:g}" for temperature in self.temperatures}) < len(self.temperatures):
            raise ValueError("temperatures must differ")
        return self


class ValidationPolicy(Config):
    """When training measures the negative ELBO on the test split; 0 means never."""

    every_steps: Annotated[int, Field(ge=0)] = 0
    num_images: PositiveInt = 1000  # at most


class RankPolicy(Config):
    """How long the ranks wait for each other before the run ends."""

    join_timeout_seconds: Annotated[float, Field(gt=0)] = 300.0
    stall_timeout_seconds: Annotated[float, Field(gt=0)] = 1800.0  # without any progress


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


class EvaluateConfig(Config):
    """Negative ELBO and importance-weighted likelihood of a checkpoint on one split."""

    kind: Literal["evaluate"] = "evaluate"
    checkpoint: str
    dataset: str
    split: Literal["train", "validation", "test"] = "test"
    importance_samples: Annotated[int, Field(ge=1, le=10_000)] = 1000
    batch_size: PositiveInt = 100
    seed: Seed = 0


class SampleConfig(Config):
    """One grid of images drawn from the prior of a checkpoint."""

    kind: Literal["sample"] = "sample"
    checkpoint: str
    temperature: Temperature = 1.0
    num_images: Annotated[int, Field(ge=1, le=1024)] = 64
    batch_norm: Literal["running", "re-estimate"] = "running"
    seed: Seed = 0


class PrepareDatasetConfig(Config):
    """Turns a source of images into a prepared data set in the run directory."""

    kind: Literal["prepare_dataset"] = "prepare_dataset"
    source: DatasetSource
    seed: Seed = 0  # of the split, where the source has none
    origin: str | None = None  # recorded as the path, where the source is a copy


RunConfig = Annotated[
    TrainConfig | EvaluateConfig | SampleConfig | PrepareDatasetConfig, Field(discriminator="kind")
]
RUN_CONFIG: TypeAdapter[TrainConfig | EvaluateConfig | SampleConfig | PrepareDatasetConfig] = (
    TypeAdapter(RunConfig)
)
