"""What one attempt has to do, read from Postgres in one transaction."""

from dataclasses import dataclass
from pathlib import Path

from nvae_core.config import (
    EvaluateConfig,
    FolderSource,
    PrepareDatasetConfig,
    SampleConfig,
    TrainConfig,
)
from services.adapters.postgres import attempts, jobs, results
from services.adapters.postgres.database import Database
from services.adapters.postgres.results import StoredFile
from services.adapters.postgres.tables import Checkpoint, Dataset, Node
from services.domain.errors import InvalidSpec
from services.domain.jobs import STORED_SPEC, ResolvedTraining, StoredSpec, run_config
from services.domain.statuses import Reason
from services.worker.inputs import InputCache, StoredFolder


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
        self, cache: InputCache, *, datasets_folder: Path | None
    ) -> TrainConfig | EvaluateConfig | SampleConfig | PrepareDatasetConfig:
        """Fetch the inputs and return the run configuration; blocks, so call it in a thread.

        Raises:
            CorruptInput: an input in S3 is not what was uploaded.
            InvalidSpec: a folder source is not below this node's folder of sources.
        """
        config = run_config(
            self.spec,
            resolved=self.resolved,
            dataset=str(cache.fetch(self.dataset)) if self.dataset else None,
            checkpoint=str(cache.fetch(self.checkpoint)) if self.checkpoint else None,
        )
        if isinstance(config, PrepareDatasetConfig) and isinstance(config.source, FolderSource):
            path = resolve_source(config.source, datasets_folder)
            source = config.source.model_copy(update={"path": str(path)})
            config = config.model_copy(update={"source": source})
        return config


def resolve_source(source: FolderSource, datasets_folder: Path | None) -> Path:
    """Return the folder on this node; links may not lead out of the folder of sources."""
    if datasets_folder is None:
        message = "this node has no folder of sources (NVAE_WORKER_DATASETS_FOLDER)"
        raise InvalidSpec.at("/source/path", message)
    try:
        root = datasets_folder.resolve()
        path = (root / source.path).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise InvalidSpec.at("/source/path", f"{source.path!r}: {error}") from error
    if not path.is_relative_to(root):
        raise InvalidSpec.at("/source/path", f"{source.path!r} leads out of the folder of sources")
    return path


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
