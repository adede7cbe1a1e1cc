"""What one attempt has to do, read from Postgres in one transaction."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from nvae_core.config import (
    ESTIMATES_NAME,
    AnyRunConfig,
    ImportCheckpointConfig,
    PathSource,
    PrepareDatasetConfig,
    statistics_name,
)
from services.database import artifacts, attempts, checkpoints, jobs
from services.database.attempts import Claim
from services.database.session import Database, Session
from services.database.tables import Artifact, Attempt, Checkpoint, Dataset, Job, Member, Node
from services.domain.keys import StoredFile
from services.domain.retry import adjust_optimization, adjust_seed
from services.domain.specs import (
    STORED_SPEC,
    JobsAnalysisSpec,
    ResolvedTraining,
    SampleSpec,
    StoredSpec,
    TemperatureTableSpec,
    TrainSpec,
    run_config,
)
from services.domain.states import Reason
from services.worker.inputs.cache import CorruptInput, InputCache, StoredFolder
from services.worker.inputs.job_metrics import JobMetrics, read_job_metrics, write_job_metrics
from services.worker.inputs.sources import SourceLocator
from services.worker.trainer.rendezvous import Gang


@dataclass(frozen=True)
class Assignment:
    """The job behind an attempt, its place on this node, and its inputs in S3."""

    job_id: str
    attempt_number: int
    spec: StoredSpec
    resolved: ResolvedTraining | None
    dataset_id: str | None
    dataset: StoredFolder | None
    checkpoint: StoredFolder | None
    slots: tuple[str, ...]  # UUIDs of GPUs, or numbers of shares of the cores
    slot_kind: str
    slots_of_node: int
    seed: int | None = None  # of a train job that was changed, in place of the one in its spec
    statistics: tuple[StoredFolder, ...] = ()  # of the checkpoint, re-estimated by earlier jobs
    estimates: tuple[StoredFolder, ...] = ()  # of an evaluation, left by an attempt before
    metrics: tuple[JobMetrics, ...] = ()  # of the jobs that an analysis compares
    gang: Gang | None = None  # None where one node does it alone

    def configure(self, cache: InputCache, sources: SourceLocator) -> AnyRunConfig:
        """Fetch the inputs and return the run configuration; blocks, so call it in a thread.

        Raises:
            CorruptInput: an input in S3 is not what was uploaded.
            InvalidSpec: the source of a data set is not where it may be.
        """
        config = run_config(
            self.spec,
            resolved=self.resolved,
            seed=self.seed,
            dataset=str(cache.fetch(self.dataset)) if self.dataset else None,
            checkpoint=str(cache.fetch(self.checkpoint)) if self.checkpoint else None,
            statistics=self._fetch_files(cache, self.statistics),
            runs=write_job_metrics(self.metrics, sources.staging) if self.metrics else (),
            estimates=next(iter(self._fetch_files(cache, self.estimates)), None),
        )
        if not isinstance(config, PrepareDatasetConfig | ImportCheckpointConfig):
            return config
        if isinstance(source := config.source, PathSource):
            located = {"source": source.at(str(sources.locate(source)))}
            is_dataset = isinstance(config, PrepareDatasetConfig)
            origin = {"origin": source.path} if is_dataset else {}
            config = config.model_copy(update=located | origin)
        return config

    def _fetch_files(self, cache: InputCache, folders: Sequence[StoredFolder]) -> list[str]:
        """Return the files that are there; what is not can be computed again."""
        paths = []
        for folder in folders:
            with contextlib.suppress(CorruptInput):
                paths.append(str(cache.fetch(folder) / folder.files[0].name))
        return paths


async def load_assignment(database: Database, claim: Claim) -> Assignment:
    """Return what this node has to do of the attempt.

    Raises:
        LeaseLost: the attempt is not live here.
    """
    async with database.transaction() as session:
        attempt = await attempts.fenced(session, claim)
        job = await jobs.find(session, attempt.job_id)
        spec = STORED_SPEC.validate_python(job.spec)
        checkpoint = await checkpoints.newest(session, job.id) if job.kind == "train" else None
        if checkpoint is None:  # what the job was given: to read, or to begin from
            checkpoint = await session.get(Checkpoint, job.checkpoint_id or "")
        dataset = await session.get(Dataset, job.dataset_id or "")
        members = await attempts.list_members(session, attempt.id)
        node = await session.get_one(Node, members[claim.node_rank].node_id)
        head = await session.get_one(Node, attempt.node_id)
        return Assignment(
            job_id=job.id,
            attempt_number=attempt.number,
            spec=spec,
            resolved=_resolved(job),
            dataset_id=job.dataset_id,
            dataset=_dataset_folder(dataset),
            checkpoint=_checkpoint_folder(checkpoint),
            slots=await attempts.slots_of(session, attempt.id, node.id),
            slot_kind=node.slot_kind,
            slots_of_node=max(1, node.num_slots),  # none are offered while the driver fails
            seed=_seed(job, spec),
            statistics=await _statistics(session, spec),
            estimates=await _estimates(session, job) if attempt.number > 1 else (),
            metrics=await _metrics(session, spec),
            gang=_gang(attempt, members, claim, node=node, head=head),
        )


def _resolved(job: Job) -> ResolvedTraining | None:
    if job.resolved is None:
        return None
    resolved = ResolvedTraining.model_validate(job.resolved)
    calmed = adjust_optimization(resolved.optimization, number=job.num_interventions)
    return resolved.model_copy(update={"optimization": calmed})


def _seed(job: Job, spec: StoredSpec) -> int | None:
    if not isinstance(spec, TrainSpec):
        return None
    return adjust_seed(spec.seed, number=job.num_interventions)


def _gang(
    attempt: Attempt, members: Sequence[Member], claim: Claim, *, node: Node, head: Node
) -> Gang | None:
    if attempt.port is None:
        return None
    return Gang(
        num_nodes=len(members),
        node_rank=claim.node_rank,
        head_address=head.address,
        own_address=node.address,
        port=attempt.port,
        meeting=f"{attempt.id}-{attempt.fence}",
    )


async def _statistics(session: Session, spec: StoredSpec) -> tuple[StoredFolder, ...]:
    if isinstance(spec, TemperatureTableSpec):
        temperatures = spec.temperatures
    elif isinstance(spec, SampleSpec) and spec.batch_norm == "re-estimate":
        temperatures = spec.temperature
    else:
        return ()
    names = [statistics_name(value, spec.re_estimation_draws) for value in temperatures]
    statistics = await artifacts.find_statistics(session, spec.checkpoint, names)
    return tuple(_file_folder(artifact) for artifact in statistics)


async def _metrics(session: Session, spec: StoredSpec) -> tuple[JobMetrics, ...]:
    return await read_job_metrics(session, spec) if isinstance(spec, JobsAnalysisSpec) else ()


async def _estimates(session: Session, job: Job) -> tuple[StoredFolder, ...]:
    if job.kind != "evaluate":
        return ()
    rows = await artifacts.list_of_job(session, job.id)
    return tuple(_file_folder(artifact) for artifact in rows if artifact.name == ESTIMATES_NAME)


def _file_folder(artifact: Artifact) -> StoredFolder:
    """Return a file that a job left as an input of another one."""
    prefix, _, name = artifact.key.rpartition("/")
    file = StoredFile(name, artifact.size_bytes, artifact.sha256)
    key = f"{artifact.id}-{artifact.sha256[:16]}"  # the row stays when the file is replaced
    return StoredFolder(key, prefix, [file], Reason.CHECKPOINT_CORRUPT)


def _dataset_folder(dataset: Dataset | None) -> StoredFolder | None:
    if dataset is None or dataset.prefix is None or dataset.files is None:
        return None
    files = [StoredFile(**file) for file in dataset.files]
    key = f"dataset-{dataset.content_hash}"
    return StoredFolder(key, dataset.prefix, files, Reason.INVALID_DATASET)


def _checkpoint_folder(checkpoint: Checkpoint | None) -> StoredFolder | None:
    if checkpoint is None:
        return None
    files = [StoredFile(**file) for file in checkpoint.files]
    return StoredFolder(checkpoint.id, checkpoint.prefix, files, Reason.CHECKPOINT_CORRUPT)
