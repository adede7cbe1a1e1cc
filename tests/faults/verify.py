"""The promises of the service, checked on all rows; for use after every fault."""

from promised_attempts import PROMISED_ATTEMPTS
from promised_jobs import PROMISED_JOBS
from promised_results import PROMISED_RESULTS
from sqlalchemy import text

PROMISES = PROMISED_JOBS | PROMISED_ATTEMPTS | PROMISED_RESULTS
"""Each promise with the query of what breaks it, one sentence a row."""

MAX_SHOWN = 5


async def verify(database):
    """Raise AssertionError with the first broken promise and the rows that break it.

    Every committed state keeps them all, so this may be called while others are at work.
    """
    async with database.transaction() as session:
        await verify_from(session)


async def verify_from(session, promises=PROMISES):
    """Do the same for these promises, as seen from a transaction."""
    broken = (await session.execute(_one_query(promises))).all()
    if not broken:
        return
    first = broken[0].promise
    rows = [row.broken for row in broken if row.promise == first]
    more = f"\n  and {len(rows) - MAX_SHOWN} more" if len(rows) > MAX_SHOWN else ""
    raise AssertionError(f"{first}:\n  " + "\n  ".join(rows[:MAX_SHOWN]) + more)


def _one_query(promises):
    """Return one query, because one statement sees one state of the database."""
    parts = [
        f"SELECT {number} AS number, '{promise}' AS promise, broken\n"
        f"FROM ({query}) AS promise_{number}(broken)"
        for number, (promise, query) in enumerate(promises.items())
    ]
    return text("\nUNION ALL\n".join(parts) + "\nORDER BY number, broken")
