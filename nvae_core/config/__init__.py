"""Validated, frozen configuration of the model, its training and each run; free of torch."""

from nvae_core.config.base import Config, PositiveInt, Seed, Temperature
from nvae_core.config.compute import ComputeConfig, StatisticsScope, check_micro_batches
from nvae_core.config.evaluation import ESTIMATES_NAME, EvaluateConfig, EvaluationOptions
from nvae_core.config.model import CellArchitecture, ModelConfig
from nvae_core.config.optimization import OptimizationConfig
from nvae_core.config.preparation import PrepareDatasetConfig
from nvae_core.config.runs import RUN_CONFIG, RunConfig
from nvae_core.config.sampling import SampleConfig, SamplingOptions, statistics_name
from nvae_core.config.sources import (
    ArraySource,
    BundledSource,
    CelebAHQSource,
    CelebASource,
    Cifar10Source,
    DatasetSource,
    FFHQSource,
    FolderSource,
    ImageFilesSource,
    ImageNet32Source,
    MnistSource,
    PathSource,
    ZipSource,
)
from nvae_core.config.training import (
    CheckpointPolicy,
    RankPolicy,
    SamplePolicy,
    TrainConfig,
    ValidationPolicy,
)

__all__ = [
    "ESTIMATES_NAME",
    "RUN_CONFIG",
    "ArraySource",
    "BundledSource",
    "CelebAHQSource",
    "CelebASource",
    "CellArchitecture",
    "CheckpointPolicy",
    "Cifar10Source",
    "ComputeConfig",
    "Config",
    "DatasetSource",
    "EvaluateConfig",
    "EvaluationOptions",
    "FFHQSource",
    "FolderSource",
    "ImageFilesSource",
    "ImageNet32Source",
    "MnistSource",
    "ModelConfig",
    "OptimizationConfig",
    "PathSource",
    "PositiveInt",
    "PrepareDatasetConfig",
    "RankPolicy",
    "RunConfig",
    "SampleConfig",
    "SamplePolicy",
    "SamplingOptions",
    "Seed",
    "StatisticsScope",
    "Temperature",
    "TrainConfig",
    "ValidationPolicy",
    "ZipSource",
    "check_micro_batches",
    "statistics_name",
]
