"""Migrations lead exactly to the tables, and back."""

from alembic import command
from sqlalchemy import create_engine, inspect, make_url, text

from services.adapters.postgres.migrate import alembic_config
from services.settings import DatabaseSettings


def test_migrated_database_has_exactly_the_tables_of_the_code(servers):
    command.check(alembic_config(DatabaseSettings(url=servers["NVAE_DATABASE_URL"])))


def test_downgrade_leaves_an_empty_database(servers):
    url = make_url(servers["NVAE_DATABASE_URL"])
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE downgraded"))
    engine.dispose()
    other = url.set(database="downgraded").render_as_string(hide_password=False)
    config = alembic_config(DatabaseSettings(url=other))
    command.upgrade(config, "head")
    command.downgrade(config, "base")
    engine = create_engine(other)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert inspect(engine).get_sequence_names() == []
    engine.dispose()
