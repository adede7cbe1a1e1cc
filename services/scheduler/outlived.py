"""Deleting the checkpoints that are not needed any more: row marked, files gone, tombstone."""

import asyncio
from collections.abc import AsyncIterator

from services.adapters.postgres import garbage
from services.adapters.postgres.database import Database
from services.adapters.postgres.tables import Checkpoint
from services.adapters.s3_storage import S3Storage
from services.domain.retention import Garbage, GarbageReason, find_garbage
from services.settings import CollectionSettings

JOBS_AT_ONCE = 200
CHECKPOINTS_AT_ONCE = 50


class OutlivedCheckpoints:
    """Marks by the retention policy, and deletes what is marked, whoever did that."""

    def __init__(
        self, database: Database, storage: S3Storage, settings: CollectionSettings, *, dry_run: bool
    ) -> None:
        self._database = database
        self._storage = storage
        self._settings = settings
        self._dry_run = dry_run

    async def collect(self) -> AsyncIterator[Garbage]:
        """Delete, and yield each checkpoint after its files are gone; or only yield them."""
        marked: dict[str, GarbageReason] = {}
        async for job_id in self._jobs_with_garbage():
            for checkpoint, reason in await self._mark(job_id):
                marked[checkpoint.id] = reason
                if self._dry_run:
                    yield _garbage(checkpoint, reason)
            if len(marked) >= self._settings.max_checkpoints:
                break
        async for checkpoint in self._marked():
            if not self._dry_run:
                await self._delete(checkpoint)
            yield _garbage(checkpoint, marked.get(checkpoint.id, GarbageReason.MARKED_BEFORE))

    async def _jobs_with_garbage(self) -> AsyncIterator[str]:
        after = ""
        while True:
            async with self._database.transaction() as session:
                job_ids = await garbage.list_jobs(session, after=after, limit=JOBS_AT_ONCE)
                page = await garbage.describe(session, job_ids)
            for stored in page:
                if find_garbage(stored, grace_seconds=self._settings.grace_seconds):
                    yield stored.job_id
            if not job_ids:
                return
            after = job_ids[-1]

    async def _mark(self, job_id: str) -> list[tuple[Checkpoint, GarbageReason]]:
        async with self._database.transaction() as session:
            found = await garbage.lock_garbage(
                session, job_id, grace_seconds=self._settings.grace_seconds
            )
            if not self._dry_run:
                await garbage.mark(session, [checkpoint.id for checkpoint, _ in found])
        return found

    async def _marked(self) -> AsyncIterator[Checkpoint]:
        after, num_left = "", self._settings.max_checkpoints
        while num_left > 0:
            limit = min(num_left, CHECKPOINTS_AT_ONCE)
            async with self._database.transaction() as session:
                page = await garbage.list_marked(session, after=after, limit=limit)
            for checkpoint in page:
                yield checkpoint
            if len(page) < limit:
                return
            after, num_left = page[-1].id, num_left - len(page)

    async def _delete(self, checkpoint: Checkpoint) -> None:
        await asyncio.to_thread(self._storage.delete, checkpoint.keys)
        async with self._database.transaction() as session:
            await garbage.bury(session, checkpoint.id)


def _garbage(checkpoint: Checkpoint, reason: GarbageReason) -> Garbage:
    return Garbage(
        kind="checkpoint", name=checkpoint.id, reason=reason, size_bytes=checkpoint.size_bytes
    )
