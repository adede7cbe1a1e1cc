"""Time that passes at once: every stored time moves back, because Postgres' clock cannot move."""

from sqlalchemy import DateTime, text

from services.database.tables import Base


def _columns(table):
    return [column.name for column in table.columns if isinstance(column.type, DateTime)]


_MOVES = [
    text(
        f"UPDATE {table.name} SET "
        + ", ".join(f"{name} = {name} - make_interval(secs => :seconds)" for name in names)
    )
    for table in Base.metadata.sorted_tables
    if (names := _columns(table))
]


async def let_pass(database, seconds):
    """Let this time pass for everything that is stored."""
    async with database.transaction() as session:
        await session.execute(text("SET LOCAL session_replication_role = replica"))  # no triggers
        for move in _MOVES:
            await session.execute(move, {"seconds": seconds})
