"""What one run does: train, evaluate, sample, analyze, prepare a data set, import a checkpoint."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from nvae_core.config.analysis import Analysis, AnalyzeConfig
from nvae_core.config.base import Config
from nvae_core.config.data import PathSource, PrepareDatasetConfig
from nvae_core.config.evaluation import EvaluateConfig
from nvae_core.config.sampling import SampleConfig
from nvae_core.config.training import TrainConfig


class PublishedFile(PathSource):
    """A checkpoint file of the published NVAE code."""

    kind: Literal["published"] = "published"


class CheckpointFolder(PathSource):
    """A folder of a checkpoint of ours: `checkpoint.json`, `model.safetensors` and perhaps more."""

    kind: Literal["folder"] = "folder"


CheckpointSource = Annotated[PublishedFile | CheckpointFolder, Field(discriminator="kind")]


class ImportCheckpointConfig(Config):
    """Makes a checkpoint in the run directory of one from elsewhere."""

    kind: Literal["import_checkpoint"] = "import_checkpoint"
    source: CheckpointSource


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
