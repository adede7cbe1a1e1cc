"""What one attempt has to do, read from Postgres in one transaction."""

from dataclasses import dataclass

from nvae_core.config import (
    EvaluateConfig,
    PathSource,
    PrepareDatasetConfig,
    SampleConfig,
    TrainConfig,
)
from services.adapters.postgres import attempts, jobs, results
from services.adapters.postgres.database import Database
from services.adapters.postgres.results import StoredFile
from services.adapters.postgres.tables import Checkpoint, Dataset, Node
from services.domain.jobs import STORED_SPEC, ResolvedTraining, StoredSpec, run_config
from services.domain.statuses import Reason
from services.worker.inputs import InputCache, StoredFolder
from services.worker.sources import SourceLocator


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
    slots: tuple[int, ...]
    slot_kind: str

    def configure(
        self, cache: InputCache, sources: SourceLocator
    ) -> TrainConfig | EvaluateConfig | SampleConfig | PrepareDatasetConfig:
        """Fetch the inputs and return the run configuration; blocks, so call it in a thread.

        Raises:
            CorruptInput: an input in S3 is not what was uploaded.
            InvalidSpec: the source of a data set is not where it may be.
        """
        config = run_config(
            self.spec,
            resolved=self.resolved,
            dataset=str(cache.fetch(self.dataset)) if self.dataset else None,
            checkpoint=str(cache.fetch(self.checkpoint)) if self.checkpoint else None,
        )
        if isinstance(config, PrepareDatasetConfig) and isinstance(config.source, PathSource):
            source = config.source.at(str(sources.locate(config.source)))
            config = config.model_copy(update={"source": source, "origin": config.source.path})
        return config


async def load_assignment(database: Database, attempt_id: str, fence: int) -> Assignment:
    """Return what this attempt has to do.

    Raises:
        LeaseLost: the attempt is not live.
    """
    async with database.transaction() as session:
        attempt = await attempts.fenced(session, attempt_id, fence)
        job = await jobs.find(session, attempt.job_id)
        spec = STORED_SPEC.validate_python(job.spec)
        if job.kind == "train":
            checkpoint = await results.newest_checkpoint(session, job.id)
        else:
            checkpoint = await session.get(Checkpoint, job.checkpoint_id or "")
        dataset = await session.get(Dataset, job.dataset_id or "")
        node = await session.get(Node, attempt.node_id)
        assert node is not None
        return Assignment(
            job_id=job.id,
            attempt_number=attempt.number,
            spec=spec,
            resolved=ResolvedTraining.model_validate(job.resolved) if job.resolved else None,
            dataset_id=job.dataset_id,
            dataset=_dataset_folder(dataset),
            checkpoint=_checkpoint_folder(checkpoint),
            slots=await attempts.slots_of(session, attempt_id),
            slot_kind=node.slot_kind,
        )


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
