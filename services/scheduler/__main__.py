"""The scheduler: `python -m services.scheduler`. Several may run; one is active."""

import asyncio

from services.adapters.celery_queue import DoorbellPublisher
from services.adapters.postgres.database import Database
from services.adapters.telemetry import configure_logging
from services.scheduler.loop import Scheduler
from services.settings import BrokerSettings, DatabaseSettings, LeaseSettings, SchedulerSettings


async def main() -> None:
    """Run the scheduler until the process is ended; that is safe at any moment."""
    configure_logging("scheduler")
    database = Database(DatabaseSettings())
    doorbell = DoorbellPublisher(BrokerSettings())
    await Scheduler(database, doorbell, SchedulerSettings(), LeaseSettings()).run()


if __name__ == "__main__":
    asyncio.run(main())
