"""Deletes from the store what nobody needs.

By hand: `python -m services.scheduler.garbage_collector`.
By hand everything goes at once, and `--dry-run` deletes nothing; what went, or would go, is
printed, one JSON object a line.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from itertools import islice
from typing import TypeVar

import structlog

from services.database import garbage, idempotency, logs
from services.database.session import Database, DatabaseUnavailable, read_clock
from services.database.tables import Checkpoint
from services.domain.keys import ATTEMPTS_ROOT
from services.domain.retention import Garbage, GarbageReason, find_garbage
from services.settings import CollectionSettings, DatabaseSettings, StorageSettings
from services.storage.s3 import S3Storage, StorageUnavailable, UnfinishedUpload

log = structlog.get_logger()
JOBS_AT_ONCE = 200
CHECKPOINTS_AT_ONCE = 50
T = TypeVar("T")
PAGE = 1000  # objects in memory at once


class GarbageCollector:
    """Runs that are each bounded in work; what one does not reach, or a crash leaves, waits.

    Two at once do no harm: rows are marked under locks, and what is gone can be deleted again.
    """

    def __init__(
        self,
        database: Database,
        storage: S3Storage,
        settings: CollectionSettings,
        *,
        dry_run: bool = False,
    ) -> None:
        self._database = database
        self._dry_run = dry_run
        self._every_seconds = settings.every_seconds
        self._keep_logs_seconds = settings.keep_logs_seconds
        self._expired = ExpiredCheckpoints(database, storage, settings, dry_run=dry_run)
        self._unreferenced = UnreferencedObjects(database, storage, settings, dry_run=dry_run)

    async def run(self) -> None:
        """Delete what is not needed, and log how much that was.

        Raises:
            DatabaseUnavailable, StorageUnavailable: the next run goes on from there.
        """
        num_deleted, num_bytes = 0, 0
        async for item in self.collect():
            num_deleted += 1
            num_bytes += item.size_bytes or 0
        if not self._dry_run:
            async with self._database.transaction() as session:
                await idempotency.delete_old(session)
                await logs.delete_old(session, kept_seconds=self._keep_logs_seconds)
        if num_deleted:
            log.info("garbage.collected", num_deleted=num_deleted, num_bytes=num_bytes)

    async def run_regularly(self) -> None:
        """Run again and again until cancelled; no failure here keeps jobs from being placed."""
        while True:
            await asyncio.sleep(self._every_seconds)
            try:
                await self.run()
            except (DatabaseUnavailable, StorageUnavailable) as error:
                log.warning("garbage.postponed", error=str(error))
            except Exception:
                log.exception("garbage.failed")

    async def collect(self) -> AsyncIterator[Garbage]:
        """Delete, and yield each thing after it is gone; in a dry run only yield what would go."""
        async for item in self._expired.collect():
            yield item
        async for item in self._unreferenced.collect():
            yield item


async def main(*, dry_run: bool) -> None:
    """Do it all in one run, and print each thing."""
    database = Database(DatabaseSettings())
    unbounded = CollectionSettings(max_checkpoints=sys.maxsize, max_objects=sys.maxsize)
    storage = S3Storage(StorageSettings())
    try:
        async for item in GarbageCollector(database, storage, unbounded, dry_run=dry_run).collect():
            sys.stdout.write(f"{json.dumps(asdict(item))}\n")
    finally:
        await database.close()


class _Collection:
    """What both kinds of garbage are collected with."""

    def __init__(
        self, database: Database, storage: S3Storage, settings: CollectionSettings, *, dry_run: bool
    ) -> None:
        self._database = database
        self._storage = storage
        self._settings = settings
        self._dry_run = dry_run


class ExpiredCheckpoints(_Collection):
    """Marks by the retention policy, and deletes what is marked, whoever did that."""

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
            candidates = await garbage.lock_garbage(
                session, job_id, grace_seconds=self._settings.grace_seconds
            )
            if not self._dry_run:
                await garbage.mark(session, [checkpoint.id for checkpoint, _ in candidates])
        return candidates

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


class UnreferencedObjects(_Collection):
    """Walks through the attempts' part of the bucket; where one walk stopped, the next goes on."""

    _after = ""

    async def collect(self) -> AsyncIterator[Garbage]:
        """Delete, and yield each thing after it is gone; or only yield them."""
        async for item in self._objects():
            yield item
        async for item in self._uploads():
            yield item

    async def _objects(self) -> AsyncIterator[Garbage]:
        objects = self._storage.list_objects(self._storage.bucket, ATTEMPTS_ROOT, after=self._after)
        num_left = self._settings.max_objects
        while num_left > 0:
            limit = min(num_left, PAGE)
            page = await asyncio.to_thread(_next_items, objects, limit)
            unnamed = await self._find_unnamed([stored.key for stored in page])
            if not self._dry_run:
                await asyncio.to_thread(self._storage.delete, sorted(unnamed))
            for stored in page:
                if stored.key in unnamed:
                    yield Garbage(
                        kind="object",
                        name=stored.key,
                        reason=GarbageReason.UNNAMED,
                        size_bytes=stored.size_bytes,
                    )
            self._after = page[-1].key if len(page) == limit else ""
            if not self._after:
                return
            num_left -= limit

    async def _uploads(self) -> AsyncIterator[Garbage]:
        for upload in await self._find_left_uploads():
            if not self._dry_run:
                await asyncio.to_thread(self._storage.abort_upload, upload)
            reason = GarbageReason.UNFINISHED_UPLOAD
            yield Garbage(kind="upload", name=upload.key, reason=reason, size_bytes=None)

    async def _find_unnamed(self, keys: list[str]) -> set[str]:
        async with self._database.transaction() as session:
            # In this order: what an attempt named before its end is seen by the second query.
            left = await garbage.find_left(
                session, keys, grace_seconds=self._settings.grace_seconds
            )
            return await garbage.find_unnamed(session, left)

    async def _find_left_uploads(self) -> list[UnfinishedUpload]:
        grace_seconds = self._settings.grace_seconds
        async with self._database.transaction() as session:
            begun_before = await read_clock(session, seconds_from_now=-grace_seconds)
        uploads = self._storage.list_uploads(ATTEMPTS_ROOT)
        old = (upload for upload in uploads if upload.begun_at <= begun_before)
        page = await asyncio.to_thread(_next_items, old, PAGE)
        async with self._database.transaction() as session:
            keys = [upload.key for upload in page]
            left = await garbage.find_left(session, keys, grace_seconds=grace_seconds)
        return [upload for upload in page if upload.key in left]


def _next_items(items: Iterator[T], limit: int) -> list[T]:
    return list(islice(items, limit))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Delete from the store what nobody needs.")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be deleted")
    try:
        asyncio.run(main(dry_run=parser.parse_args().dry_run))
    except (DatabaseUnavailable, StorageUnavailable) as error:
        raise SystemExit(f"not finished: {error}") from error
