"""The health of the scheduler is that somebody leads, and SIGTERM ends it in order."""

import asyncio
import sys

from waiting import scaled

from services.scheduler.health import check


async def test_scheduler_is_healthy_while_one_leads_and_ends_of_sigterm(
    database, service_environment
):
    assert await check(database) == "no scheduler has been at work lately"
    scheduler = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.scheduler")
    try:
        async with asyncio.timeout(scaled(30)):
            while await check(database) is not None:
                await asyncio.sleep(0.1)
    finally:
        scheduler.terminate()
    async with asyncio.timeout(scaled(10)):
        assert await scheduler.wait() == 0
