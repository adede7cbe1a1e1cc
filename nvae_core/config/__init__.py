"""Validated, frozen configuration of the model, its training and each run; free of torch."""

from nvae_core.config.base import Config, PositiveInt, Seed, Temperature
from nvae_core.config.model import CellArchitecture, ModelConfig
from nvae_core.config.optimization import OptimizationConfig
from nvae_core.config.runs import (
    RUN_CONFIG,
    CheckpointPolicy,
    EvaluateConfig,
    PrepareDatasetConfig,
    RankPolicy,
    RunConfig,
    SampleConfig,
    SamplePolicy,
    TrainConfig,
    ValidationPolicy,
)
from nvae_core.config.sources import BundledSource, DatasetSource, FolderSource

__all__ = [
    "RUN_CONFIG",
    "BundledSource",
    "CellArchitecture",
    "CheckpointPolicy",
    "Config",
    "DatasetSource",
    "EvaluateConfig",
    "FolderSource",
    "ModelConfig",
    "OptimizationConfig",
    "PositiveInt",
    "PrepareDatasetConfig",
    "RankPolicy",
    "RunConfig",
    "SampleConfig",
    "SamplePolicy",
    "Seed",
    "Temperature",
    "TrainConfig",
    "ValidationPolicy",
]
