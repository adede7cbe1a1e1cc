"""How a model is trained and computed, and what a training run leaves on the way."""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictFloat, StrictInt, model_validator

from nvae_core.config.base import Config, PositiveInt, Seed, Temperatures
from nvae_core.config.model import ModelConfig

Precision = Literal["float32", "bf16", "fp16"]
StatisticsScope = Literal["all_ranks", "per_node", "local"]


class OptimizationConfig(Config):
    """How the model is trained: AdaMax, its schedules, and the terms of the objective."""

    epochs: PositiveInt
    batch_size: PositiveInt  # images per rank and step
    learning_rate: Annotated[StrictFloat, Field(gt=0)] = 0.01
    min_learning_rate: Annotated[StrictFloat, Field(ge=0)] = 1e-4
    warmup_epochs: Annotated[StrictFloat, Field(ge=0)] = 5.0  # linear learning-rate warm-up
    weight_decay: Annotated[StrictFloat, Field(ge=0)] = 3e-4
    kl_warmup_fraction: Annotated[StrictFloat, Field(gt=0, le=1)] = 0.3
    min_kl_weight: Annotated[StrictFloat, Field(ge=0, le=1)] = 1e-4
    kl_balancing: Literal["multiply", "divide", "off"] = "multiply"
    spectral_weight: Annotated[StrictFloat, Field(ge=0)] = 0.01  # λ
    initial_spectral_weight: Annotated[StrictFloat, Field(gt=0)] | None = (
        None  # annealed from, to λ
    )
    batch_norm_penalty: StrictBool = True  # added with weight λ
    max_gradient_norm: Annotated[StrictFloat, Field(gt=0)] | None = (
        None  # a step above it is skipped
    )
    horizontal_flip: StrictBool = False  # of every other training image, at random

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError("warmup_epochs must be smaller than epochs")
        if self.initial_spectral_weight is not None and self.spectral_weight == 0:
            raise ValueError("initial_spectral_weight needs a spectral_weight above 0")
        return self


class ComputeConfig(Config):
    """How a step is computed: what it costs, and how it is rounded.

    Parameters, optimizer state, distributions and the terms of the objective are float32 in
    every precision.
    """

    precision: Precision = "float32"
    gradient_accumulation: PositiveInt = 1  # micro-batches that a rank's batch is taken in
    activation_checkpointing: StrictBool = False  # less memory, more work; the same bits
    batch_norm_statistics: StatisticsScope = "all_ranks"  # whose batches are normalized together
    compile: StrictBool = False  # cells, flows, heads and objective, by torch.compile
    # Kernels whose results do not depend on timing; on a CPU all are.
    deterministic: StrictBool = True
    # The whole step as one graph of a GPU's kernels; not measured yet.
    cuda_graph: StrictBool = False


def check_micro_batches(optimization: OptimizationConfig, compute: ComputeConfig) -> None:
    """Raise ValueError if the batch of a rank cannot be taken in so many equal parts."""
    parts, batch_size = compute.gradient_accumulation, optimization.batch_size
    if batch_size % parts:
        raise ValueError(
            f"compute.gradient_accumulation: the batch_size of {batch_size} cannot be taken in "
            f"{parts} equal micro-batches"
        )


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
