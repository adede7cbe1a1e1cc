"""Specs of analyses: with ids and names where the run has folders and files."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from nvae_core.config import (
    ActiveChannels,
    Analysis,
    Config,
    Interpolations,
    NearestImages,
    Reconstructions,
    RunName,
    ScaleTraversal,
    TemperatureTable,
    TemperatureTableOptions,
    TrainingCurves,
    check_names,
)
from services.domain.submission import Name, Submission


class CheckpointAnalysis(Submission):
    """Base of analyses of a checkpoint, given by id."""

    kind: Literal["analyze"] = "analyze"
    analysis: str
    checkpoint: Name


class ImagesAnalysis(CheckpointAnalysis):
    """Base of those that need a data set as well, given by name or id."""

    dataset: Name
    split: str


class NearestImagesSpec(NearestImages, ImagesAnalysis):
    """Find the images that are nearest to samples of a checkpoint."""

    checkpoint: Name
    dataset: Name


class TemperatureTableSpec(TemperatureTableOptions, CheckpointAnalysis):
    """Draw a checkpoint at temperatures, with running and re-estimated statistics."""

    checkpoint: Name


class ScaleTraversalSpec(ScaleTraversal, CheckpointAnalysis):
    """Draw a checkpoint with its top scales held fixed."""

    checkpoint: Name


class ReconstructionsSpec(Reconstructions, ImagesAnalysis):
    """Reconstruct images by a checkpoint."""

    checkpoint: Name
    dataset: Name


class InterpolationsSpec(Interpolations, ImagesAnalysis):
    """Go from image to image through the latents of a checkpoint."""

    checkpoint: Name
    dataset: Name


class NamedJob(Config):
    """A train job, given by id, and what its line is called."""

    name: RunName
    job: Name


def _check_jobs(runs: tuple[NamedJob, ...]) -> tuple[NamedJob, ...]:
    check_names([run.name for run in runs])
    return runs


class RunsAnalysis(Submission):
    """Base of analyses of train jobs, whose metrics are read as they are when it starts."""

    kind: Literal["analyze"] = "analyze"
    analysis: str
    runs: Annotated[
        tuple[NamedJob, ...], Field(min_length=1, max_length=16), AfterValidator(_check_jobs)
    ]


class ActiveChannelsSpec(RunsAnalysis):
    """Draw the active channels of train jobs."""

    analysis: Literal["active_channels"] = "active_channels"


class TrainingCurvesSpec(RunsAnalysis):
    """Draw loss, KL and λ of train jobs."""

    analysis: Literal["training_curves"] = "training_curves"


AnalyzeSpec = Annotated[
    NearestImagesSpec
    | TemperatureTableSpec
    | ScaleTraversalSpec
    | ReconstructionsSpec
    | InterpolationsSpec
    | ActiveChannelsSpec
    | TrainingCurvesSpec,
    Field(discriminator="analysis"),
]

ANALYSES: dict[str, type[Analysis]] = {
    "nearest_images": NearestImages,
    "temperature_table": TemperatureTable,
    "scale_traversal": ScaleTraversal,
    "reconstructions": Reconstructions,
    "interpolations": Interpolations,
    "active_channels": ActiveChannels,
    "training_curves": TrainingCurves,
}
"""What the trainer gets, by the name of the analysis."""
