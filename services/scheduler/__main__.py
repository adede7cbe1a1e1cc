"""The scheduler: `python -m services.scheduler`. Several may run; one is active."""

import asyncio
import os
import signal

from services.database.session import Database
from services.messaging.celery import DoorbellPublisher
from services.scheduler.garbage_collector import GarbageCollector
from services.scheduler.scheduler import Scheduler
from services.settings import (
    BrokerSettings,
    CollectionSettings,
    DatabaseSettings,
    LeaseSettings,
    SchedulerSettings,
    StorageSettings,
)
from services.storage.s3 import S3Storage
from services.telemetry import tracing
from services.telemetry.logging import configure_logging


async def main() -> None:
    """Run the scheduler until SIGTERM; to be ended in any other way is safe at any moment."""
    configure_logging("scheduler")
    tracing.start("scheduler")
    running = asyncio.current_task()
    assert running is not None
    # In a container nobody else would: its first process does not end of SIGTERM by itself.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    database = Database(DatabaseSettings())
    doorbell = DoorbellPublisher(BrokerSettings())
    collection = GarbageCollector(database, S3Storage(StorageSettings()), CollectionSettings())
    scheduler = Scheduler(database, doorbell, SchedulerSettings(), LeaseSettings())
    try:
        await scheduler.run(while_leading=collection.run_regularly)
    except asyncio.CancelledError:
        tracing.stop()
        os._exit(0)  # a thread that waits for the store or the broker is not waited for


if __name__ == "__main__":
    asyncio.run(main())
