"""What one run does: train, evaluate, sample or prepare a data set."""

from typing import Annotated

from pydantic import Field, TypeAdapter

from nvae_core.config.evaluation import EvaluateConfig
from nvae_core.config.preparation import PrepareDatasetConfig
from nvae_core.config.sampling import SampleConfig
from nvae_core.config.training import TrainConfig

RunConfig = Annotated[
    TrainConfig | EvaluateConfig | SampleConfig | PrepareDatasetConfig, Field(discriminator="kind")
]
RUN_CONFIG: TypeAdapter[TrainConfig | EvaluateConfig | SampleConfig | PrepareDatasetConfig] = (
    TypeAdapter(RunConfig)
)
