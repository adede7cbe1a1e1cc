"""Analyses: pictures of what a checkpoint or a run does, as in the appendix of the paper."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nvae_core.config.base import Config, Seed, Temperature

Split = Literal["train", "validation", "test"]
ImageIndex = Annotated[int, Field(ge=0, lt=2**31)]  # of an image in its split
RunLabel = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f]+$")]
Temperatures = Annotated[tuple[Temperature, ...], Field(min_length=1, max_length=8)]
MAX_RUNS = 8  # as many colours can be told apart


class Analysis(Config):
    """What all analyses have in common."""

    kind: Literal["analyze"] = "analyze"


class NearestImages(Analysis):
    """Samples beside the images of a split that are most like them (Fig. 6)."""

    analysis: Literal["nearest_images"] = "nearest_images"
    checkpoint: str
    dataset: str
    split: Split = "train"
    num_samples: Annotated[int, Field(ge=1, le=64)] = 8
    num_neighbours: Annotated[int, Field(ge=1, le=16)] = 7
    temperature: Temperature = 1.0
    seed: Seed = 0


class TemperatureTable(Analysis):
    """Samples by temperature, with running and with re-estimated batch-norm statistics (Fig. 7)."""

    analysis: Literal["temperature_table"] = "temperature_table"
    checkpoint: str
    temperatures: Annotated[tuple[Temperature, ...], Field(min_length=1, max_length=8)] = (
        0.4,
        0.6,
        0.8,
        1.0,
    )
    num_images: Annotated[int, Field(ge=2, le=64)] = 16  # in each cell of the table
    re_estimation_draws: Annotated[int, Field(ge=1, le=10_000)] = 500
    seed: Seed = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({f"{value:g}" for value in self.temperatures}) < len(self.temperatures):
            raise ValueError("temperatures: they must differ")
        return self


class TemperatureTableConfig(TemperatureTable):
    """With the files of statistics that an earlier run of this checkpoint left."""

    statistics: tuple[str, ...] = ()


class ScaleTraversal(Analysis):
    """Samples that share the latents of their top scales, row by row more of them (Fig. 12)."""

    analysis: Literal["scale_traversal"] = "scale_traversal"
    checkpoint: str
    # How many top scales each row shares; None for every number below that of the model.
    fixed_scales: (
        Annotated[
            tuple[Annotated[int, Field(ge=0, le=16)], ...], Field(min_length=1, max_length=16)
        ]
        | None
    ) = None
    num_samples: Annotated[int, Field(ge=2, le=16)] = 8  # per row
    temperature: Temperature = 1.0
    seed: Seed = 0


class Reconstructions(Analysis):
    """Images of a split above their reconstructions."""

    analysis: Literal["reconstructions"] = "reconstructions"
    checkpoint: str
    dataset: str
    split: Split = "test"
    indices: Annotated[tuple[ImageIndex, ...], Field(min_length=1, max_length=64)] = tuple(range(8))
    posterior: Literal["sample", "mean"] = "sample"
    seed: Seed = 0


class Interpolations(Analysis):
    """Images on the way between two images of a split, by mixing their latents."""

    analysis: Literal["interpolations"] = "interpolations"
    checkpoint: str
    dataset: str
    split: Split = "test"
    pairs: Annotated[tuple[tuple[ImageIndex, ImageIndex], ...], Field(min_length=1, max_length=16)]
    num_steps: Annotated[int, Field(ge=3, le=16)] = 9  # with both ends
    seed: Seed = 0  # of the binarization, where pixels are Bernoulli


class RecordedRun(Config):
    """Metrics that a run left: its run directory, or its progress file; and its name."""

    name: RunLabel
    path: str


class RunAnalysis(Analysis):
    """An analysis of metrics that runs left; it needs no checkpoint."""

    runs: Annotated[tuple[RecordedRun, ...], Field(min_length=1, max_length=MAX_RUNS)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_names(run.name for run in self.runs)
        return self


class ActiveChannels(RunAnalysis):
    """Active latent channels over the steps, in total and of each group (Fig. 10)."""

    analysis: Literal["active_channels"] = "active_channels"


class TrainingCurves(RunAnalysis):
    """Loss, KL and the coefficient λ of spectral regularization over the steps (Fig. 11)."""

    analysis: Literal["training_curves"] = "training_curves"


AnalyzeConfig = (
    NearestImages
    | TemperatureTableConfig
    | ScaleTraversal
    | Reconstructions
    | Interpolations
    | ActiveChannels
    | TrainingCurves
)
# The metrics that are drawn.
CURVES = ("loss", "kl", "spectral_weight")
NUM_ACTIVE = "active_channels"
NUM_ACTIVE_OF_GROUP = "active_channels/group_"


def check_names(names: Iterable[str]) -> None:
    """Refuse runs that a legend could not tell apart.

    Raises:
        ValueError: two have the same name.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"runs: two have the name {repeated[0]!r}")
