"""From the run directory to Postgres: metrics, notices, logs; and in their wake, files to S3.

Lines are followed without waiting for files, so metrics are seen while a large checkpoint is
uploaded, or while the store is away. Files follow when what was reported before them is stored.
"""

from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from itertools import islice

from nvae_core.run_directory import (
    ArtifactLine,
    CheckpointLine,
    MetricsLine,
    NoticeLine,
    ProgressLine,
    RunDirectory,
    StartedLine,
)
from services.adapters.postgres import attempts, results
from services.adapters.postgres.attempts import Claim
from services.adapters.postgres.database import Database, Session
from services.adapters.postgres.metrics import MetricValues
from services.adapters.postgres.tables import Attempt
from services.adapters.s3_storage import S3Storage
from services.worker.rank_logs import RankLogs
from services.worker.uploads import PreparedDataset, Uploads

MAX_LINES = 200  # per transaction


class Publisher:
    """Follows one run directory from its first byte on."""

    def __init__(
        self,
        database: Database,
        storage: S3Storage,
        run_directory: RunDirectory,
        *,
        job_id: str,
        claim: Claim,
        attempt_number: int,
        first_rank: int,
    ) -> None:
        self._database = database
        self._run_directory = run_directory
        self._claim = claim
        self._attempt_number = attempt_number
        self._offset = 0
        self._logs = RankLogs(run_directory.logs, first_rank=first_rank)
        self._uploads = Uploads(
            database,
            storage,
            run_directory,
            job_id=job_id,
            claim=claim,
            attempt_number=attempt_number,
        )

    async def publish_new(self) -> int:
        """Store the complete lines that are there, and let files wait; return how many.

        The offset moves on only after the commit, so a failure in between publishes again, which
        changes nothing. Files wait from then on: their rows come after all metrics before them.

        Raises:
            LeaseLost: this attempt is not live any more.
            ValueError: a line is not a progress line; those before it are stored.
            DatabaseUnavailable: try again later.
        """
        lines, garbage = self._read()
        metrics: list[MetricValues] = []
        files: list[ArtifactLine | CheckpointLine] = []
        for _, line in lines:
            if isinstance(line, MetricsLine):
                at = datetime.fromtimestamp(line.at, UTC)
                metrics.append(MetricValues(line.step, at, line.values))
            elif isinstance(line, ArtifactLine | CheckpointLine):
                files.append(line)
            else:
                await self._store(line)
        if metrics:
            async with self._write() as (session, attempt):
                await results.add_metrics(session, attempt, metrics)
        if lines:
            self._offset = lines[-1][0]
            self._uploads.add(files)
        if garbage is not None:
            raise garbage
        return len(lines)

    async def publish_logs(self) -> int:
        """Store a piece of what each rank has printed; return how many.

        Raises:
            LeaseLost: this attempt is not live any more.
            DatabaseUnavailable: try again later.
        """
        pieces = self._logs.read()
        if not pieces:
            return 0
        async with self._write() as (session, attempt):
            for piece in pieces:
                await results.add_log(
                    session, attempt, rank=piece.rank, offset=piece.offset, text=piece.text
                )
        for piece in pieces:
            self._logs.has_stored(piece)
        return len(pieces)

    async def publish_next_file(self) -> bool:
        """Publish a file that waits, if there is one; return whether there was."""
        return await self._uploads.publish_next()

    async def publish_rest(self) -> None:
        """Publish everything that is left after the trainer has ended: lines, then files."""
        while await self.publish_new():
            pass
        while await self.publish_logs():
            pass
        await self.publish_files()

    async def publish_files(self) -> None:
        """Publish every file that waits."""
        while await self.publish_next_file():
            pass

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
                await self._uploads.publish_artifact(line)

    async def upload_dataset(self) -> PreparedDataset:
        """Upload what a preparation left; its row is committed together with the job's end."""
        return await self._uploads.upload_dataset()

    def _read(self) -> tuple[list[tuple[int, ProgressLine]], ValueError | None]:
        """Return the next lines with the offsets after them, and what is wrong after these."""
        lines: list[tuple[int, ProgressLine]] = []
        try:
            for numbered in islice(self._run_directory.read_progress(self._offset), MAX_LINES):
                lines.append(numbered)
        except ValueError as error:
            return lines, error
        return lines, None

    async def _store(self, line: StartedLine | NoticeLine) -> None:
        async with self._write() as (session, attempt):
            if isinstance(line, NoticeLine):
                await results.add_notice(session, attempt, line)
                return
            await results.set_totals(
                session, attempt, num_steps=line.num_steps, num_parameters=line.num_parameters
            )

    def _write(self) -> AbstractAsyncContextManager[tuple[Session, Attempt]]:
        return attempts.fenced_write(self._database, self._claim)
