"""Whether a scheduler is at work: `python -m services.scheduler.health` exits 0 if one is."""

import asyncio

from services.database.leadership import is_led
from services.database.session import Database, DatabaseUnavailable
from services.settings import DatabaseSettings


async def check(database: Database) -> str | None:
    """Return what is wrong, or None."""
    try:
        async with database.transaction() as session:
            return None if await is_led(session) else "no scheduler has been at work lately"
    except DatabaseUnavailable as error:
        return f"the database is away: {error}"


async def _main() -> str | None:
    database = Database(DatabaseSettings())
    try:
        return await check(database)
    finally:
        await database.close()


if __name__ == "__main__":
    raise SystemExit(asyncio.run(_main()))
