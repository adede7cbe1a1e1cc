"""The import of a checkpoint from elsewhere."""

from typing import Annotated, Literal

from pydantic import Field

from nvae_core.config.base import Config
from nvae_core.config.sources import PathSource


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
