"""Validated, frozen configuration of the model, its training and each run; free of torch."""

from nvae_core.config.base import Config, PositiveInt, Seed, Temperature
from nvae_core.config.compute import ComputeConfig, StatisticsScope, check_micro_batches
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
    "ComputeConfig",
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
    "StatisticsScope",
    "Temperature",
    "TrainConfig",
    "ValidationPolicy",
    "check_micro_batches",
]
