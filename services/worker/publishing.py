"""From the run directory to Postgres and S3: metrics, artifacts, checkpoints, data sets.

An upload goes first and the fenced row that names it second, so a crash in between leaves an
object that nobody sees.
"""

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from nvae_core.run_directory import (
    ArtifactLine,
    CheckpointLine,
    MetricsLine,
    NoticeLine,
    ProgressLine,
    RunDirectory,
    StartedLine,
    file_sha256,
)
from services.adapters.ids import new_id
from services.adapters.postgres import attempts, checkpoints, results
from services.adapters.postgres.attempts import Claim
from services.adapters.postgres.database import Database, Session
from services.adapters.postgres.metrics import MetricValues
from services.adapters.postgres.results import StoredFile
from services.adapters.postgres.tables import Artifact, Attempt
from services.adapters.s3_storage import S3Storage
from services.domain.object_keys import attempt_prefix
from services.worker.inputs import list_files

MAX_LINES = 200  # per transaction


@dataclass(frozen=True)
class PreparedDataset:
    """An uploaded data set that only needs its row."""

    description: dict[str, object]
    prefix: str
    files: list[StoredFile]


class Publisher:
    """Follows one run directory from a byte offset on."""

    def __init__(
        self,
        database: Database,
        storage: S3Storage,
        run_directory: RunDirectory,
        *,
        job_id: str,
        claim: Claim,
        attempt_number: int,
    ) -> None:
        self._database = database
        self._storage = storage
        self._run_directory = run_directory
        self._job_id = job_id
        self._claim = claim
        self._attempt_number = attempt_number
        self._prefix = attempt_prefix(job_id, attempt_number)
        self._offset = 0

    async def publish_new(self) -> int:
        """Publish the complete lines that are there, in order; return how many.

        The offset moves on only after the commit, so a failure in between publishes again, which
        changes nothing.

        Raises:
            LeaseLost: this attempt is not live any more.
            ValueError: a line is not a progress line.
        """
        lines = list(islice(self._run_directory.read_progress(self._offset), MAX_LINES))
        metrics: list[MetricValues] = []
        for offset, line in lines:
            if isinstance(line, MetricsLine):
                at = datetime.fromtimestamp(line.at, UTC)
                metrics.append(MetricValues(line.step, at, line.values))
                continue
            await self._store_metrics(metrics)
            metrics = []
            await self._publish(line)
            self._offset = offset
        await self._store_metrics(metrics)
        if lines:
            self._offset = lines[-1][0]
        return len(lines)

    async def publish_rest(self) -> None:
        """Publish everything that is left after the trainer has ended."""
        while await self.publish_new():
            pass

    async def upload_dataset(self) -> PreparedDataset:
        """Upload what a preparation left; its row is committed together with the job's end."""
        folder = self._run_directory.dataset
        files = await asyncio.to_thread(list_files, folder)
        prefix = f"{self._prefix}/dataset"
        for file in files:
            await self._upload(folder / file.name, f"{prefix}/{file.name}")
        description = json.loads((folder / "dataset.json").read_bytes())
        return PreparedDataset(description, prefix, files)

    async def _store_metrics(self, metrics: list[MetricValues]) -> None:
        if metrics:
            async with self._write() as (session, attempt):
                await results.add_metrics(session, attempt, metrics)

    async def _publish(self, line: ProgressLine) -> None:
        if isinstance(line, StartedLine):
            async with self._write() as (session, attempt):
                await results.set_totals(
                    session,
                    attempt,
                    num_steps=line.num_steps,
                    num_parameters=line.num_parameters,
                )
        elif isinstance(line, ArtifactLine):
            await self._publish_artifact(line)
        elif isinstance(line, CheckpointLine):
            await self._publish_checkpoint(line)
        elif isinstance(line, NoticeLine):
            async with self._write() as (session, attempt):
                await results.add_notice(session, attempt, line)

    async def publish_stacks(self) -> None:
        """Store what the ranks of a run that hangs wrote about themselves."""
        folder = f"attempt_{self._attempt_number}"
        for path in sorted(self._run_directory.ranks.glob("*.stacks.txt")):
            if path.stat().st_size:
                line = ArtifactLine(
                    at=path.stat().st_mtime,
                    name=f"{folder}/{path.name}",
                    path=str(path.relative_to(self._run_directory.path)),
                    content_type="text/plain",
                )
                await self._publish_artifact(line)

    async def _publish_artifact(self, line: ArtifactLine) -> None:
        path = self._run_directory.path / line.path
        key = f"{self._prefix}/artifacts/{line.name}"
        await self._upload(path, key)
        artifact = Artifact(
            id=new_id("art"),
            job_id=self._job_id,
            attempt_id=self._claim.attempt_id,
            name=line.name,
            key=key,
            content_type=line.content_type,
            size_bytes=path.stat().st_size,
            sha256=await asyncio.to_thread(file_sha256, path),
            step=line.step,
        )
        async with self._write() as (session, attempt):
            await results.add_artifact(session, attempt, artifact)

    async def _publish_checkpoint(self, line: CheckpointLine) -> None:
        folder = self._run_directory.path / line.path
        prefix = f"{self._prefix}/checkpoints/{folder.name}"
        try:
            files = await asyncio.to_thread(list_files, folder)
            for file in files:
                await self._upload(folder / file.name, f"{prefix}/{file.name}")
        except FileNotFoundError:
            files = []
        if not files or not folder.exists():
            return  # the trainer has dropped it for newer ones
        async with self._write() as (session, attempt):
            await checkpoints.add(
                session,
                attempt,
                checkpoint_id=new_id("ckpt"),
                step=line.step,
                prefix=prefix,
                files=files,
            )

    def _write(self) -> AbstractAsyncContextManager[tuple[Session, Attempt]]:
        return attempts.fenced_write(self._database, self._claim)

    async def _upload(self, path: Path, key: str) -> None:
        await asyncio.to_thread(self._storage.upload, path, key)
