"""From the run directory to Postgres: metrics, notices, logs; and in their wake, files to S3.

Lines are followed without waiting for files, so metrics are seen while a large checkpoint is
uploaded, or while the store is away. Files follow when what was reported before them is stored.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from itertools import islice

import structlog

from nvae_core.run_directory import (
    ArtifactLine,
    CheckpointLine,
    MetricsLine,
    NoticeLine,
    ProgressLine,
    RunDirectory,
    StartedLine,
)
from services.database import attempts, jobs, logs, metrics
from services.database.attempts import Claim
from services.database.metrics import MetricValues
from services.database.session import Database, DatabaseUnavailable, Session
from services.database.tables import Attempt
from services.storage.s3 import S3Storage, StorageUnavailable
from services.worker import retry
from services.worker.publish.rank_logs import RankLogs
from services.worker.publish.uploads import PreparedDataset, Uploads

MAX_LINES = 200  # per transaction
LOOK_SECONDS = 0.5
log = structlog.get_logger()


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
        values: list[MetricValues] = []
        files: list[ArtifactLine | CheckpointLine] = []
        for _, line in lines:
            if isinstance(line, MetricsLine):
                at = datetime.fromtimestamp(line.at, UTC)
                values.append(MetricValues(line.step, at, line.values))
            elif isinstance(line, ArtifactLine | CheckpointLine):
                files.append(line)
            else:
                await self._store(line)
        if values:
            async with self._write() as (session, attempt):
                await metrics.add_metrics(session, attempt, values)
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
                await logs.add(
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
                await jobs.add_notice(session, attempt, line)
                return
            await metrics.set_totals(
                session,
                attempt,
                num_steps=line.num_steps,
                num_parameters=line.num_parameters,
                device=_device_of(line),
            )

    def _write(self) -> AbstractAsyncContextManager[tuple[Session, Attempt]]:
        return attempts.fenced_write(self._database, self._claim)


def _device_of(line: StartedLine) -> dict[str, str | None] | None:
    """Return on what rank 0 computes, where it says so."""
    said = line.model_dump()
    if said.get("device") is None:
        return None
    return {"name": said["device"], "torch": said.get("torch"), "cuda": said.get("cuda")}


async def publish_until(
    ended: asyncio.Event, publisher: Publisher, *, cancelled: asyncio.Event
) -> None:
    """Publish what appears until the trainer has ended, and then what is left.

    Raises:
        ValueError: the trainer wrote a line that is not one of progress.
        LeaseLost: the attempt is not live any more.
        DatabaseUnavailable, StorageUnavailable: for longer than is worth the slots; that is
            not long once the user has cancelled the job (`cancelled`).
    """
    lines = asyncio.create_task(_follow(publisher.publish_new, ended))
    logs = asyncio.create_task(_follow(publisher.publish_logs, ended))
    files = asyncio.create_task(_follow(publisher.publish_next_file, ended))
    try:
        done, _ = await asyncio.wait((lines, logs, files), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # raises what ended it
        await asyncio.gather(lines, logs)
        # A file that is on its way now is waited for by the rest, which comes after it.
        await publish_last(publisher.publish_rest, cancelled=cancelled)
    finally:
        for task in (lines, logs, files):
            task.cancel()
        await asyncio.gather(lines, logs, files, return_exceptions=True)


async def publish_last(publish: Callable[[], Awaitable[None]], *, cancelled: asyncio.Event) -> None:
    """Publish what is left after the trainer has ended; errors as those of `publish_until`."""
    try:
        async with asyncio.timeout(retry.MAX_OUTAGE_SECONDS) as limit:
            await retry.retry_outages(publish, cancelled=cancelled)
    except TimeoutError as error:
        if not limit.expired():
            raise
        # A store that takes bytes, but too slowly, must not keep the slots for ever.
        message = f"not all files could be stored within {retry.MAX_OUTAGE_SECONDS:.0f} s"
        raise StorageUnavailable(message) from error


async def _follow(publish: Callable[[], Awaitable[int]], ended: asyncio.Event) -> None:
    """Publish until the trainer has ended, again and again; without a pause while there is more."""
    while not ended.is_set():
        try:
            if await publish():
                continue
        except (DatabaseUnavailable, StorageUnavailable) as error:
            log.warning("publish.postponed", error=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), LOOK_SECONDS)
