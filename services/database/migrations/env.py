"""Alembic's entry: connects, takes the migration lock, runs."""

from alembic import context
from sqlalchemy import create_engine, text

from services.database.tables import Base

MIGRATION_LOCK = 7_201_501  # any number, the same for all replicas

engine = create_engine(context.config.attributes["url"])
with engine.connect() as connection:
    connection.execute(text(f"SELECT pg_advisory_lock({MIGRATION_LOCK})"))
    connection.commit()
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()
    connection.execute(text(f"SELECT pg_advisory_unlock({MIGRATION_LOCK})"))
    connection.commit()
engine.dispose()
