"""Analyses of a checkpoint or of runs: the experiments of the paper's appendix."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from nvae_core.config.base import Config, Seed, Temperature
from nvae_core.config.sampling import Temperatures

Split = Literal["train", "validation", "test"]
Index = Annotated[int, Field(ge=0, lt=2**31)]
MAX_ROWS = 16


def _check_different(values: tuple[float, ...]) -> tuple[float, ...]:
    if len({f"{value:g}" for value in values}) < len(values):
        raise ValueError("they must differ")
    return values


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError if two runs have one name: their lines could not be told apart."""
    if len(set(names)) < len(names):
        raise ValueError("names of runs must differ")


class Analysis(Config):
    """Base of every analysis."""

    kind: Literal["analyze"] = "analyze"


class NearestImages(Analysis):
    """Samples beside the images of a split that are nearest to them (Fig. 6)."""

    analysis: Literal["nearest_images"] = "nearest_images"
    checkpoint: str
    dataset: str
    split: Split = "train"
    temperature: Temperature = 1.0
    num_samples: Annotated[int, Field(ge=1, le=64)] = 8
    num_neighbours: Annotated[int, Field(ge=1, le=16)] = 6
    seed: Seed = 0


class TemperatureTableOptions(Analysis):
    """Grids at several temperatures, with running and with re-estimated statistics (Fig. 7)."""

    analysis: Literal["temperature_table"] = "temperature_table"
    checkpoint: str
    temperatures: Annotated[Temperatures, AfterValidator(_check_different)] = (0.4, 0.6, 0.8, 1.0)
    num_images: Annotated[int, Field(ge=1, le=64)] = 8  # per temperature
    re_estimation_draws: Annotated[int, Field(ge=1, le=10_000)] = 500
    seed: Seed = 0


class TemperatureTable(TemperatureTableOptions):
    """The same, perhaps with statistics of an earlier run."""

    statistics: tuple[str, ...] = ()  # as of a sample run


class ScaleTraversal(Analysis):
    """Rows of samples with more and more of the top scales held fixed (Fig. 12)."""

    analysis: Literal["scale_traversal"] = "scale_traversal"
    checkpoint: str
    temperature: Temperature = 1.0
    # One row each; unless given, from none of the scales to all but the last.
    fixed_scales: (
        Annotated[
            tuple[Annotated[int, Field(ge=0, le=8)], ...],
            Field(min_length=1, max_length=9),
            AfterValidator(_check_different),
        ]
        | None
    ) = None
    num_samples: Annotated[int, Field(ge=1, le=32)] = 8  # per row
    seed: Seed = 0


class Reconstructions(Analysis):
    """Images of a split above their reconstructions."""

    analysis: Literal["reconstructions"] = "reconstructions"
    checkpoint: str
    dataset: str
    split: Split = "test"
    num_images: Annotated[int, Field(ge=1, le=64)] = 8  # the first ones, where no indices are given
    indices: Annotated[tuple[Index, ...], Field(min_length=1, max_length=64)] | None = None
    latents: Literal["mean", "sample"] = "mean"  # of each group's posterior
    seed: Seed = 0


class Interpolations(Analysis):
    """Ways between two images of a split through the latents."""

    analysis: Literal["interpolations"] = "interpolations"
    checkpoint: str
    dataset: str
    split: Split = "test"
    pairs: Annotated[tuple[tuple[Index, Index], ...], Field(min_length=1, max_length=MAX_ROWS)] = (
        *((0, 1), (2, 3), (4, 5)),
    )
    num_steps: Annotated[int, Field(ge=2, le=32)] = 8  # with both ends
    seed: Seed = 0


RunName = Annotated[
    str, StringConstraints(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f$_][^\x00-\x1f$]*$")
]


class RunFiles(Config):
    """The progress of one run, and what its line is called."""

    name: RunName
    path: Annotated[str, Field(min_length=1)]  # of its run directory, or of its progress file


def _check_runs(runs: tuple[RunFiles, ...]) -> tuple[RunFiles, ...]:
    check_names([run.name for run in runs])
    return runs


Runs = Annotated[
    tuple[RunFiles, ...], Field(min_length=1, max_length=MAX_ROWS), AfterValidator(_check_runs)
]


class ActiveChannels(Analysis):
    """Active latent channels of runs during training (Fig. 10)."""

    analysis: Literal["active_channels"] = "active_channels"
    runs: Runs


class TrainingCurves(Analysis):
    """Loss, KL and λ of runs side by side (Fig. 11)."""

    analysis: Literal["training_curves"] = "training_curves"
    runs: Runs


SERIES: dict[str, tuple[str, ...]] = {
    "active_channels": ("active_channels",),
    "training_curves": ("loss", "kl", "spectral_weight"),
}
"""The metrics that each analysis of runs draws, from top to bottom."""

AnalyzeConfig = Annotated[
    NearestImages
    | TemperatureTable
    | ScaleTraversal
    | Reconstructions
    | Interpolations
    | ActiveChannels
    | TrainingCurves,
    Field(discriminator="analysis"),
]
