"""Validated, frozen configuration of the model, its optimization and each run; free of torch."""

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

PositiveInt = Annotated[int, Field(ge=1, lt=2**31)]
Depth = Annotated[int, Field(ge=1, le=256)]  # far above every model of the paper
Width = Annotated[int, Field(ge=1, le=4096)]
Temperature = Annotated[float, Field(gt=0, le=2)]


class Config(BaseModel):
    """Base of every configuration: frozen, and a field that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelConfig(Config):
    """Shape of one NVAE. Lists over scales run from the coarsest to the finest, as in Table 6."""

    image_size: Annotated[int, Field(ge=1, le=1024)]
    image_padding: Annotated[int, Field(ge=0, le=64)] = 0  # zero pixels added on every side
    num_colors: Literal[1, 3] = 1
    image_distribution: Literal["bernoulli"] = "bernoulli"
    num_groups_per_scale: Annotated[tuple[Depth, ...], Field(min_length=1, max_length=8)]
    num_latents_per_group: Width = 20
    num_encoder_channels: Width = 32
    num_decoder_channels: Width = 32
    num_preprocess_blocks: Annotated[int, Field(ge=0, le=6)] = 1  # each halves the resolution
    num_cells_per_block: Depth = 2  # of the pre-process and the post-process
    num_cells_per_group: Depth = 2  # of both towers
    squeeze_excitation: bool = True
    residual_posterior: bool = True

    @property
    def resolution(self) -> int:
        """Height and width the network sees: the image with its padding."""
        return self.image_size + 2 * self.image_padding

    @model_validator(mode="after")
    def _check(self) -> Self:
        num_halvings = self.num_preprocess_blocks + len(self.num_groups_per_scale) - 1
        if self.resolution % 2**num_halvings:
            raise ValueError(
                f"image_size plus padding is {self.resolution}, which cannot be halved "
                f"{num_halvings} times (num_preprocess_blocks + scales - 1)"
            )
        if self.image_distribution == "bernoulli" and self.num_colors != 1:
            raise ValueError("the bernoulli image_distribution needs num_colors = 1")
        return self


class OptimizationConfig(Config):
    """How the model is trained: AdaMax, its schedules, and the terms of the objective."""

    epochs: PositiveInt
    batch_size: PositiveInt  # images per rank and step
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    min_learning_rate: Annotated[float, Field(ge=0)] = 1e-4
    warmup_epochs: Annotated[float, Field(ge=0)] = 5.0  # linear learning-rate warm-up
    weight_decay: Annotated[float, Field(ge=0)] = 3e-4
    kl_warmup_fraction: Annotated[float, Field(gt=0, le=1)] = 0.3
    min_kl_weight: Annotated[float, Field(ge=0, le=1)] = 1e-4
    kl_balancing: Literal["multiply", "divide", "off"] = "multiply"
    spectral_weight: Annotated[float, Field(ge=0)] = 0.01  # λ
    initial_spectral_weight: Annotated[float, Field(gt=0)] | None = None  # annealed from, to λ
    batch_norm_penalty: bool = True  # added with weight λ

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError("warmup_epochs must be smaller than epochs")
        if self.initial_spectral_weight is not None and self.spectral_weight == 0:
            raise ValueError("initial_spectral_weight needs a spectral_weight above 0")
        return self


class CheckpointPolicy(Config):
    """When training saves a checkpoint, and how many the run directory keeps."""

    every_steps: PositiveInt = 1000
    keep_last: PositiveInt = 3


class SamplePolicy(Config):
    """When training draws sample grids, and at which temperatures; 0 means only at the end."""

    every_steps: Annotated[int, Field(ge=0)] = 0
    temperatures: Annotated[tuple[Temperature, ...], Field(max_length=8)] = (0.8,)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({f"{temperature:g}" for temperature in self.temperatures}) < len(self.temperatures):
            raise ValueError("temperatures must differ")
        return self


Seed = Annotated[int, Field(ge=0, lt=2**63)]


class TrainConfig(Config):
    """Everything one training run needs; paths are absolute or relative to the run directory."""

    kind: Literal["train"] = "train"
    model: ModelConfig
    optimization: OptimizationConfig
    dataset: str  # folder of a prepared data set
    seed: Seed = 0
    checkpoint: CheckpointPolicy = CheckpointPolicy()
    samples: SamplePolicy = SamplePolicy()
    report_every_steps: PositiveInt = 10
    resume_from: str | None = None  # folder of a checkpoint


class EvaluateConfig(Config):
    """Negative ELBO and importance-weighted likelihood of a checkpoint on one split."""

    kind: Literal["evaluate"] = "evaluate"
    checkpoint: str
    dataset: str
    split: Literal["train", "test"] = "test"
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


class BundledSource(Config):
    """A data set that ships with an installed package."""

    kind: Literal["bundled"] = "bundled"
    name: Literal["mnist_5k"]


class FolderSource(Config):
    """A folder of image files, or one with the subfolders `train` and `test`."""

    kind: Literal["folder"] = "folder"
    path: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00]*$")]
    image_size: Annotated[int, Field(ge=4, le=1024)]  # centre crop, then resize
    num_colors: Literal[1, 3] = 3
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1  # where there is no `test` subfolder

    @property
    def parts(self) -> tuple[str, ...]:
        """Components of the path, for checks that it stays below a root."""
        return PurePosixPath(self.path).parts


DatasetSource = Annotated[BundledSource | FolderSource, Field(discriminator="kind")]


class PrepareDatasetConfig(Config):
    """Turns a source of images into a prepared data set in the run directory."""

    kind: Literal["prepare_dataset"] = "prepare_dataset"
    source: DatasetSource
    seed: Seed = 0  # of the split, where the source has none


RunConfig = Annotated[
    TrainConfig | EvaluateConfig | SampleConfig | PrepareDatasetConfig, Field(discriminator="kind")
]
RUN_CONFIG: TypeAdapter[TrainConfig | EvaluateConfig | SampleConfig | PrepareDatasetConfig] = (
    TypeAdapter(RunConfig)
)
