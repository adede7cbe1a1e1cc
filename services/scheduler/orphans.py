"""Deleting what attempts that ended left in the store and no row names."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import TypeVar

from services.adapters.postgres import garbage
from services.adapters.postgres.clock import read_clock
from services.adapters.postgres.database import Database
from services.adapters.s3_storage import S3Storage, UnfinishedUpload
from services.domain.object_keys import ATTEMPTS_ROOT
from services.domain.retention import Garbage, GarbageReason
from services.settings import CollectionSettings

T = TypeVar("T")

PAGE = 1000  # objects in memory at once


class Orphans:
    """Walks through the attempts' part of the bucket; where one walk stopped, the next goes on."""

    def __init__(
        self, database: Database, storage: S3Storage, settings: CollectionSettings, *, dry_run: bool
    ) -> None:
        self._database = database
        self._storage = storage
        self._settings = settings
        self._dry_run = dry_run
        self._after = ""

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
            page = await asyncio.to_thread(_take, objects, limit)
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
        page = await asyncio.to_thread(_take, old, PAGE)
        async with self._database.transaction() as session:
            keys = [upload.key for upload in page]
            left = await garbage.find_left(session, keys, grace_seconds=grace_seconds)
        return [upload for upload in page if upload.key in left]


def _take(items: Iterator[T], limit: int) -> list[T]:
    return list(islice(items, limit))
