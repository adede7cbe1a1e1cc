"""Where images of a data set come from."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from nvae_core.config.base import Config


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
