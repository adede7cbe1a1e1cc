"""What one run does: train, evaluate, sample, analyze, prepare a data set, import."""

from typing import Annotated

from pydantic import Field, TypeAdapter

from nvae_core.config.analysis import Analysis, AnalyzeConfig
from nvae_core.config.evaluation import EvaluateConfig
from nvae_core.config.importing import ImportCheckpointConfig
from nvae_core.config.preparation import PrepareDatasetConfig
from nvae_core.config.sampling import SampleConfig
from nvae_core.config.training import TrainConfig

RunConfig = Annotated[
    TrainConfig
    | EvaluateConfig
    | SampleConfig
    | AnalyzeConfig
    | PrepareDatasetConfig
    | ImportCheckpointConfig,
    Field(discriminator="kind"),
]
AnyRunConfig = (
    TrainConfig
    | EvaluateConfig
    | SampleConfig
    | Analysis
    | PrepareDatasetConfig
    | ImportCheckpointConfig
)
RUN_CONFIG: TypeAdapter[AnyRunConfig] = TypeAdapter(RunConfig)
