"""Analyses as they are submitted: checkpoints and data sets by id or name, runs by their jobs."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from nvae_core.config import (
    MAX_RUNS,
    ActiveChannels,
    Analysis,
    Interpolation,
    NearestImages,
    Reconstructions,
    ScaleTraversal,
    TemperatureTable,
    TemperatureTableConfig,
    TrainingCurves,
)
from services.domain.submission import Name, Submission


class NearestImagesSpec(Submission, NearestImages):
    """For samples of a checkpoint the nearest images of a split (Fig. 6)."""

    checkpoint: Name
    dataset: Name


class TemperatureTableSpec(Submission, TemperatureTable):
    """Samples at several temperatures, by running and re-estimated statistics (Fig. 7)."""

    checkpoint: Name


class ScaleTraversalSpec(Submission, ScaleTraversal):
    """Samples of which more and more scales are held fixed (Fig. 12)."""

    checkpoint: Name


class ReconstructionsSpec(Submission, Reconstructions):
    """Images of a split, and what the model makes of their latents."""

    checkpoint: Name
    dataset: Name


class InterpolationSpec(Submission, Interpolation):
    """The way between two images of a split, in their latents."""

    checkpoint: Name
    dataset: Name


class OfJobs(Submission):
    """What several train jobs reported, given by their ids."""

    kind: Literal["analyze"] = "analyze"
    jobs: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_RUNS)]

    @field_validator("jobs")
    @classmethod
    def _check(cls, jobs: tuple[str, ...]) -> tuple[str, ...]:
        if len({*jobs}) < len(jobs):
            raise ValueError("they must differ")
        return jobs


class TrainingCurvesSpec(OfJobs):
    """Loss, KL and λ of jobs, side by side (Fig. 11)."""

    analysis: Literal["training_curves"] = "training_curves"


class ActiveChannelsSpec(OfJobs):
    """Active latent channels of jobs during training (Fig. 10)."""

    analysis: Literal["active_channels"] = "active_channels"


OfCheckpointSpec = (
    NearestImagesSpec
    | TemperatureTableSpec
    | ScaleTraversalSpec
    | ReconstructionsSpec
    | InterpolationSpec
)
OfImagesSpec = NearestImagesSpec | ReconstructionsSpec | InterpolationSpec
AnalyzeSpec = OfCheckpointSpec | TrainingCurvesSpec | ActiveChannelsSpec
AnyAnalyzeSpec = Annotated[AnalyzeSpec, Field(discriminator="analysis")]

CONFIGS: Mapping[type[AnalyzeSpec], type[Analysis]] = {
    NearestImagesSpec: NearestImages,
    TemperatureTableSpec: TemperatureTableConfig,
    ScaleTraversalSpec: ScaleTraversal,
    ReconstructionsSpec: Reconstructions,
    InterpolationSpec: Interpolation,
    TrainingCurvesSpec: TrainingCurves,
    ActiveChannelsSpec: ActiveChannels,
}
"""What the trainer gets for each of them."""
