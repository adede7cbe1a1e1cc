"""What a user submits: one validated spec per kind of job."""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import Field, JsonValue, StrictInt, StringConstraints, TypeAdapter

from nvae_core.config import (
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
    ModelConfig,
    OptimizationConfig,
    PrepareDatasetConfig,
    RunMetrics,
    SampleConfig,
    SamplePolicy,
    SamplingOptions,
    Seed,
    TrainConfig,
    ValidationPolicy,
)
from services.domain.analyses import CONFIGS, AnalyzeSpec, AnyAnalyzeSpec, OfJobs
from services.domain.submission import Name, Submission

LONG_KINDS = frozenset({"train", "evaluate"})  # they may take hours or weeks, the others minutes

C = TypeVar("C", bound=Config)
DatasetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


Overrides = Annotated[dict[str, JsonValue], Field(max_length=64)]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,63}$")]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=32)]


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


class PrepareDatasetSpec(Submission, PrepareDatasetConfig):
    """The job that the registration of a data set makes; not submitted directly."""

    dataset: str  # id


class CheckpointImport(Submission):
    """Make a checkpoint here of one from elsewhere: the published code's, or one of ours."""

    source: CheckpointSource


class ImportCheckpointSpec(Submission, ImportCheckpointConfig):
    """The job that an import makes; not submitted directly."""


class DatasetSpec(Config):
    """Register a source of images under a name; a job prepares it."""

    name: DatasetName
    source: DatasetSource
    seed: Seed = 0


class ResolvedTraining(Config):
    """Model and optimization of a train job as they were when it was submitted."""

    model: ModelConfig
    optimization: OptimizationConfig


SubmittedSpec = TrainSpec | EvaluateSpec | SampleSpec | AnalyzeSpec
JobSpec = Annotated[
    TrainSpec | EvaluateSpec | SampleSpec | AnyAnalyzeSpec, Field(discriminator="kind")
]
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
    config = CONFIGS[type(spec)]
    local = {"dataset": dataset, "checkpoint": checkpoint, "statistics": tuple(statistics)}
    given = {name: value for name, value in local.items() if name in config.model_fields}
    if isinstance(spec, OfJobs):
        given_runs = tuple(run.model_dump() for run in runs)
        return _narrow(config, spec, runs=given_runs)
    return _narrow(config, spec, **given)


def _narrow(config: type[C], spec: Config, **local: object) -> C:
    shared = config.model_fields.keys() & type(spec).model_fields.keys()
    given = {name: getattr(spec, name) for name in shared}
    return config.model_validate(given | local)
