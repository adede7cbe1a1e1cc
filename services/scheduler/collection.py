"""Deleting from the store what nobody needs; by hand: `python -m services.scheduler.collection`.

By hand everything goes at once, and `--dry-run` deletes nothing; what went, or would go, is
printed, one JSON object a line.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict

import structlog

from services.adapters.postgres import idempotency, logs
from services.adapters.postgres.database import Database, DatabaseUnavailable
from services.adapters.s3_storage import S3Storage, StorageUnavailable
from services.domain.retention import Garbage
from services.scheduler.orphans import Orphans
from services.scheduler.outlived import OutlivedCheckpoints
from services.settings import CollectionSettings, DatabaseSettings, StorageSettings

log = structlog.get_logger()


class Collection:
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
        self._outlived = OutlivedCheckpoints(database, storage, settings, dry_run=dry_run)
        self._orphans = Orphans(database, storage, settings, dry_run=dry_run)

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
                await idempotency.forget_old(session)
                await logs.forget_old(session, kept_seconds=self._keep_logs_seconds)
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
        async for item in self._outlived.collect():
            yield item
        async for item in self._orphans.collect():
            yield item


async def main(*, dry_run: bool) -> None:
    """Do it all in one run, and print each thing."""
    database = Database(DatabaseSettings())
    unbounded = CollectionSettings(max_checkpoints=sys.maxsize, max_objects=sys.maxsize)
    storage = S3Storage(StorageSettings())
    try:
        async for item in Collection(database, storage, unbounded, dry_run=dry_run).collect():
            sys.stdout.write(f"{json.dumps(asdict(item))}\n")
    finally:
        await database.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Delete from the store what nobody needs.")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be deleted")
    try:
        asyncio.run(main(dry_run=parser.parse_args().dry_run))
    except (DatabaseUnavailable, StorageUnavailable) as error:
        raise SystemExit(f"not finished: {error}") from error
