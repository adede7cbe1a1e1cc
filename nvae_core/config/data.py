"""Data sets: where their images come from, and how they are prepared."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, StrictFloat, StrictInt, field_validator

from nvae_core.config.base import Config, Seed

S3_SCHEME = "s3://"
S3_URL = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<prefix>[^/].*)")

ImageSize = Annotated[StrictInt, Field(ge=4, le=1024)]  # both sides, in pixels


class BundledSource(Config):
    """A data set that ships with an installed package."""

    kind: Literal["bundled"] = "bundled"
    name: Literal["mnist_5k"]


class PathSource(Config):
    """Base of what is read from a path, or from `s3://bucket/prefix`."""

    path: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00]*$")]

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        if not path.startswith(S3_SCHEME):
            return path
        match = S3_URL.fullmatch(path)
        if match is None or {"", ".", ".."} & set(match["prefix"].rstrip("/").split("/")):
            raise ValueError("must be s3://bucket/prefix, and no part of the prefix '.' or '..'")
        return path

    @property
    def parts(self) -> tuple[str, ...]:
        """Components of the path, for checks that it stays below a root."""
        return PurePosixPath(self.path).parts

    @property
    def is_in_s3(self) -> bool:
        """Whether the path is an URL of the object store; only the service can fetch it."""
        return self.path.startswith(S3_SCHEME)

    def at(self, path: str) -> Self:
        """Return the same source at another path."""
        return self.model_copy(update={"path": path})


class ImageFilesSource(PathSource):
    """Base of sources of image files; a few of them may be unreadable where that is allowed."""

    max_unreadable_fraction: Annotated[StrictFloat, Field(ge=0, le=1)] = 0.0


class _SplitImageFiles(ImageFilesSource):
    image_size: ImageSize  # centre crop, then resize
    num_colors: Literal[1, 3] = 3
    test_fraction: Annotated[StrictFloat, Field(gt=0, lt=1)] = (
        0.1  # where there is no `test` subfolder
    )


class FolderSource(_SplitImageFiles):
    """A folder of image files, or one with subfolders `train`, `test`, perhaps `validation`."""

    kind: Literal["folder"] = "folder"


class ZipSource(_SplitImageFiles):
    """The same in a zip archive."""

    kind: Literal["zip"] = "zip"


class MnistSource(PathSource):
    """A folder with MNIST's files in IDX format, as they are or in gzip."""

    kind: Literal["mnist"] = "mnist"


class Cifar10Source(PathSource):
    """CIFAR-10's python or binary version: the `.tar.gz`, or the folder with its batches."""

    kind: Literal["cifar10"] = "cifar10"


class ImageNet32Source(PathSource):
    """A folder with the batches of ImageNet 32, npz or pickled, or the zips they came in."""

    kind: Literal["imagenet32"] = "imagenet32"


class CelebASource(ImageFilesSource):
    """A folder with CelebA's `list_eval_partition.txt` and its aligned images or their zip."""

    kind: Literal["celeba"] = "celeba"
    image_size: ImageSize = 64


class CelebAHQSource(ImageFilesSource):
    """CelebA-HQ in a folder or zip: with subfolders, or the last tenth by name for the test."""

    kind: Literal["celeba_hq"] = "celeba_hq"
    image_size: ImageSize = 256


class FFHQSource(ImageFilesSource):
    """FFHQ in a folder or zip; a tenth of it, always the same one, is for the test."""

    kind: Literal["ffhq"] = "ffhq"
    image_size: ImageSize = 256


class ArraySource(PathSource):
    """Square `uint8` images in an `.npy`, or an `.npz` with one array or `train` and `test`."""

    kind: Literal["array"] = "array"
    test_fraction: Annotated[StrictFloat, Field(gt=0, lt=1)] = 0.1  # where there is no `test` array


DatasetSource = Annotated[
    BundledSource
    | FolderSource
    | ZipSource
    | MnistSource
    | Cifar10Source
    | ImageNet32Source
    | CelebASource
    | CelebAHQSource
    | FFHQSource
    | ArraySource,
    Field(discriminator="kind"),
]


class PrepareDatasetConfig(Config):
    """Turns a source of images into a prepared data set in the run directory."""

    kind: Literal["prepare_dataset"] = "prepare_dataset"
    source: DatasetSource
    seed: Seed = 0  # of the split, where the source has none
    origin: str | None = None  # recorded as the path, where the source is a copy
