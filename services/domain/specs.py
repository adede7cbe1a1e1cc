"""What a user submits: a validated spec per kind of job, and the run configuration made of it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import (
    Field,
    JsonValue,
    StrictFloat,
    StrictInt,
    StringConstraints,
    TypeAdapter,
    field_validator,
)

from nvae_core.config import (
    MAX_RUNS,
    ActiveChannels,
    Analysis,
    AnyRunConfig,
    CheckpointPolicy,
    CheckpointSource,
    ComputeConfig,
    Config,
    DatasetSource,
    EvaluateConfig,
    EvaluationOptions,
    ImportCheckpointConfig,
    Interpolation,
    ModelConfig,
    NearestImages,
    OptimizationConfig,
    PrepareDatasetConfig,
    Reconstructions,
    RunMetrics,
    SampleConfig,
    SamplePolicy,
    SamplingOptions,
    ScaleTraversal,
    Seed,
    TemperatureTable,
    TemperatureTableConfig,
    TrainConfig,
    TrainingCurves,
    ValidationPolicy,
)

NO_ZERO = r"^[^\x00]*$"  # Postgres cannot store one
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_ZERO)]
TagKey = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_ZERO)]
TagValue = Annotated[str, StringConstraints(max_length=256, pattern=NO_ZERO)]
Tags = Annotated[dict[TagKey, TagValue], Field(max_length=32)]
Priority = Annotated[StrictInt, Field(ge=0, le=100)]
MaxRunSeconds = Annotated[StrictFloat, Field(gt=0, le=10**9)]
LONG_KINDS = frozenset({"train", "evaluate"})  # they may take hours or weeks, the others minutes
C = TypeVar("C", bound=Config)
DatasetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Overrides = Annotated[dict[str, JsonValue], Field(max_length=64)]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,63}$")]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=32)]


class Submission(Config):
    """Fields of every spec."""

    name: Name | None = None
    tags: Tags = {}
    priority: Priority = 50
    max_run_seconds: MaxRunSeconds | None = None  # over all attempts


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


ImagesAnalysisSpec = NearestImagesSpec | ReconstructionsSpec | InterpolationSpec


CheckpointAnalysisSpec = (
    NearestImagesSpec
    | TemperatureTableSpec
    | ScaleTraversalSpec
    | ReconstructionsSpec
    | InterpolationSpec
)


class JobsAnalysisSpec(Submission):
    """What several train jobs reported, given by their ids."""

    kind: Literal["analyze"] = "analyze"
    jobs: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_RUNS)]

    @field_validator("jobs")
    @classmethod
    def _check(cls, jobs: tuple[str, ...]) -> tuple[str, ...]:
        if len({*jobs}) < len(jobs):
            raise ValueError("they must differ")
        return jobs


class TrainingCurvesSpec(JobsAnalysisSpec):
    """Loss, KL and λ of jobs, side by side (Fig. 11)."""

    analysis: Literal["training_curves"] = "training_curves"


class ActiveChannelsSpec(JobsAnalysisSpec):
    """Active latent channels of jobs during training (Fig. 10)."""

    analysis: Literal["active_channels"] = "active_channels"


AnalyzeSpec = CheckpointAnalysisSpec | TrainingCurvesSpec | ActiveChannelsSpec
AnyAnalyzeSpec = Annotated[AnalyzeSpec, Field(discriminator="analysis")]


ANALYSIS_CONFIGS: Mapping[type[AnalyzeSpec], type[Analysis]] = {
    NearestImagesSpec: NearestImages,
    TemperatureTableSpec: TemperatureTableConfig,
    ScaleTraversalSpec: ScaleTraversal,
    ReconstructionsSpec: Reconstructions,
    InterpolationSpec: Interpolation,
    TrainingCurvesSpec: TrainingCurves,
    ActiveChannelsSpec: ActiveChannels,
}
"""What the trainer gets for each of them."""


class Resources(Config):
    """What the job needs: a slot is one GPU, or a share of the cores of a node without GPUs."""

    nodes: Annotated[StrictInt, Field(ge=1, le=1024)] = 1
    slots: Annotated[StrictInt, Field(ge=1, le=1024)] = 1  # on each node, one rank each
    labels: Labels = {}  # that each node must have


class TrainSpec(Submission):
    """Train a preset, with overrides, on a prepared data set."""

    kind: Literal["train"] = "train"
    preset: Name
    dataset: Name  # or id
    overrides: Overrides = {}
    resources: Resources = Resources()
    compute: ComputeConfig = ComputeConfig()
    checkpoint: CheckpointPolicy = CheckpointPolicy()
    samples: SamplePolicy = SamplePolicy()
    validation: ValidationPolicy = ValidationPolicy()
    seed: Seed = 0


class EvaluateSpec(Submission, EvaluationOptions):
    """Estimate the likelihood of a checkpoint, given by id, on a data set, given by name or id."""

    checkpoint: Name
    dataset: Name
    resources: Resources = Resources()


class SampleSpec(Submission, SamplingOptions):
    """Draw images from a checkpoint, given by id."""

    checkpoint: Name


JobSpec = Annotated[
    TrainSpec | EvaluateSpec | SampleSpec | AnyAnalyzeSpec, Field(discriminator="kind")
]


SubmittedSpec = TrainSpec | EvaluateSpec | SampleSpec | AnalyzeSpec


class PrepareDatasetSpec(Submission, PrepareDatasetConfig):
    """The job that the registration of a data set makes; not submitted directly."""

    dataset: str  # id


class CheckpointImport(Submission):
    """Make a checkpoint here of one from elsewhere: the published code's, or one of ours."""

    source: CheckpointSource


class ImportCheckpointSpec(Submission, ImportCheckpointConfig):
    """The job that an import makes; not submitted directly."""


StoredSpec = SubmittedSpec | PrepareDatasetSpec | ImportCheckpointSpec


STORED_SPEC: TypeAdapter[StoredSpec] = TypeAdapter(
    Annotated[
        TrainSpec
        | EvaluateSpec
        | SampleSpec
        | AnyAnalyzeSpec
        | PrepareDatasetSpec
        | ImportCheckpointSpec,
        Field(discriminator="kind"),
    ]
)


class DatasetSpec(Config):
    """Register a source of images under a name; a job prepares it."""

    name: DatasetName
    source: DatasetSource
    seed: Seed = 0


class ResolvedTraining(Config):
    """Model and optimization of a train job as they were when it was submitted."""

    model: ModelConfig
    optimization: OptimizationConfig


def resources_of(spec: StoredSpec) -> Resources:
    """Return what the job takes; the others use one slot."""
    return spec.resources if isinstance(spec, TrainSpec | EvaluateSpec) else Resources()


def run_config(
    spec: StoredSpec,
    *,
    resolved: ResolvedTraining | None,
    seed: int | None = None,
    dataset: str | None,
    checkpoint: str | None,
    statistics: Sequence[str] = (),
    estimates: str | None = None,
    runs: Sequence[RunMetrics] = (),
) -> AnyRunConfig:
    """Return what the trainer gets: the spec with names replaced by local folders.

    Args:
        spec: the job's spec.
        resolved: of a train job, its model and optimization.
        seed: of a train job, in place of the one in its spec.
        dataset: folder of the prepared data set, if the job uses one.
        checkpoint: folder of the checkpoint to read, or to resume from.
        estimates: file that an earlier attempt of an evaluation left.
        runs: metrics of the jobs that an analysis compares.
        statistics: files of re-estimated batch-norm statistics of that checkpoint.
    """
    if isinstance(spec, TrainSpec):
        assert resolved is not None
        assert dataset is not None
        return TrainConfig(
            model=resolved.model,
            optimization=resolved.optimization,
            dataset=dataset,
            seed=spec.seed if seed is None else seed,
            compute=spec.compute,
            checkpoint=spec.checkpoint,
            samples=spec.samples,
            validation=spec.validation,
            resume_from=checkpoint,
        )
    if isinstance(spec, EvaluateSpec):
        return _narrow(
            EvaluateConfig, spec, checkpoint=checkpoint, dataset=dataset, resume_from=estimates
        )
    if isinstance(spec, SampleSpec):
        return _narrow(SampleConfig, spec, checkpoint=checkpoint, statistics=tuple(statistics))
    if isinstance(spec, PrepareDatasetSpec):
        return _narrow(PrepareDatasetConfig, spec)
    if isinstance(spec, ImportCheckpointSpec):
        return _narrow(ImportCheckpointConfig, spec)
    return _analysis_config(
        spec, dataset=dataset, checkpoint=checkpoint, statistics=statistics, runs=runs
    )


def _analysis_config(
    spec: AnalyzeSpec,
    *,
    dataset: str | None,
    checkpoint: str | None,
    statistics: Sequence[str],
    runs: Sequence[RunMetrics],
) -> Analysis:
    config = ANALYSIS_CONFIGS[type(spec)]
    local = {"dataset": dataset, "checkpoint": checkpoint, "statistics": tuple(statistics)}
    values = {name: value for name, value in local.items() if name in config.model_fields}
    if isinstance(spec, JobsAnalysisSpec):
        given_runs = tuple(run.model_dump() for run in runs)
        return _narrow(config, spec, runs=given_runs)
    return _narrow(config, spec, **values)


def _narrow(config: type[C], spec: Config, **local: object) -> C:
    shared = config.model_fields.keys() & type(spec).model_fields.keys()
    values = {name: getattr(spec, name) for name in shared}
    return config.model_validate(values | local)
