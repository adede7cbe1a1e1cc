"""Looking inside a checkpoint, or at several runs: the experiments of the paper's appendix."""

from typing import Annotated, Literal

from pydantic import Field, StrictInt, StringConstraints, field_validator

from nvae_core.config.base import Config, Seed, Temperature, Temperatures

Split = Literal["train", "validation", "test"]
CURVES = ("loss", "negative_elbo", "kl", "spectral_weight")  # the metrics of training curves
ACTIVE_CHANNELS = "active_channels"  # and `active_channels/group_00`, …
MAX_RUNS = 10  # as many colours there are
LocalPath = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]*$")]
# In one line: neither control characters nor separators of lines.
RunName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=60,
        pattern=r"^[^\p{Cc}\p{Zl}\p{Zp}]*$",
    ),
]
ImageIndex = Annotated[StrictInt, Field(ge=0, lt=2**31)]


class Analysis(Config):
    """What all analyses have in common."""

    kind: Literal["analyze"] = "analyze"


class OfCheckpoint(Analysis):
    """An analysis of a checkpoint."""

    checkpoint: LocalPath
    seed: Seed = 0


class OfImages(OfCheckpoint):
    """An analysis of a checkpoint on images of a data set."""

    dataset: LocalPath


class NearestImages(OfImages):
    """Is it memorizing? For each sample the nearest images of a split (Fig. 6)."""

    analysis: Literal["nearest_images"] = "nearest_images"
    split: Split = "train"
    temperature: Temperature = 1.0
    num_samples: Annotated[StrictInt, Field(ge=1, le=64)] = 8
    num_neighbours: Annotated[StrictInt, Field(ge=1, le=20)] = 6


class TemperatureTable(OfCheckpoint):
    """Samples at several temperatures, by running and by re-estimated statistics (Fig. 7)."""

    analysis: Literal["temperature_table"] = "temperature_table"
    temperatures: Annotated[Temperatures, Field(min_length=1, max_length=6)] = (0.4, 0.6, 0.8, 1.0)
    num_images: Annotated[StrictInt, Field(ge=1, le=64)] = 16  # in each cell
    re_estimation_draws: Annotated[StrictInt, Field(ge=1, le=10_000)] = 500


class TemperatureTableConfig(TemperatureTable):
    """With the files of statistics that earlier runs of this checkpoint left."""

    statistics: tuple[LocalPath, ...] = ()


class ScaleTraversal(OfCheckpoint):
    """What each scale decides: its latents and those above held fixed, the rest drawn (Fig. 12)."""

    analysis: Literal["scale_traversal"] = "scale_traversal"
    temperature: Temperature = 1.0
    num_samples: Annotated[StrictInt, Field(ge=1, le=20)] = 8  # in each row


class Reconstructions(OfImages):
    """Images of a split, and what the model makes of their latents."""

    analysis: Literal["reconstructions"] = "reconstructions"
    split: Split = "test"
    images: Annotated[tuple[ImageIndex, ...], Field(min_length=1, max_length=32)] = tuple(range(8))
    posterior: Literal["mean", "sample"] = "mean"


class Interpolation(OfImages):
    """The way between two images of a split, in their latents."""

    analysis: Literal["interpolation"] = "interpolation"
    split: Split = "test"
    images: tuple[ImageIndex, ImageIndex]
    num_steps: Annotated[StrictInt, Field(ge=3, le=21)] = 9  # with both ends

    @field_validator("images")
    @classmethod
    def _check(cls, images: tuple[int, int]) -> tuple[int, int]:
        if images[0] == images[1]:
            raise ValueError("they must differ")
        return images


class RunMetrics(Config):
    """A run by the name it has in the picture."""

    name: RunName
    path: LocalPath  # its folder, or a file of the lines of `progress.jsonl`
    job: str | None = None  # its id, where it is one


class OfRuns(Analysis):
    """A comparison of what runs reported."""

    runs: Annotated[tuple[RunMetrics, ...], Field(min_length=1, max_length=MAX_RUNS)]

    @field_validator("runs")
    @classmethod
    def _check(cls, runs: tuple[RunMetrics, ...]) -> tuple[RunMetrics, ...]:
        names = [run.name for run in runs]
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise ValueError(f"two have the name {repeated[0]!r}")
        return runs


class TrainingCurves(OfRuns):
    """Loss, KL and the weight of spectral regularization of runs, side by side (Fig. 11)."""

    analysis: Literal["training_curves"] = "training_curves"


class ActiveChannels(OfRuns):
    """Active latent channels during training, in total and per group at the end (Fig. 10)."""

    analysis: Literal["active_channels"] = "active_channels"


AnalyzeConfig = Annotated[
    NearestImages
    | TemperatureTableConfig
    | ScaleTraversal
    | Reconstructions
    | Interpolation
    | TrainingCurves
    | ActiveChannels,
    Field(discriminator="analysis"),
]
