"""The scheduler: `python -m services.scheduler`. Several may run; one is active."""

import asyncio

from services.adapters import tracing
from services.adapters.celery_queue import DoorbellPublisher
from services.adapters.postgres.database import Database
from services.adapters.s3_storage import S3Storage
from services.adapters.telemetry import configure_logging
from services.scheduler.collection import Collection
from services.scheduler.loop import Scheduler
from services.settings import (
    BrokerSettings,
    CollectionSettings,
    DatabaseSettings,
    LeaseSettings,
    SchedulerSettings,
    StorageSettings,
)


async def main() -> None:
    """Run the scheduler until the process is ended; that is safe at any moment."""
    configure_logging("scheduler")
    tracing.start("scheduler")
    tracing.stop_on_sigterm()
    database = Database(DatabaseSettings())
    doorbell = DoorbellPublisher(BrokerSettings())
    collection = Collection(database, S3Storage(StorageSettings()), CollectionSettings())
    scheduler = Scheduler(database, doorbell, SchedulerSettings(), LeaseSettings())
    await scheduler.run(while_leading=collection.run_regularly)


if __name__ == "__main__":
    asyncio.run(main())
