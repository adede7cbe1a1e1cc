"""Bring the database to the newest revision: `python -m services.database.migrate`."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

from services.database.session import DatabaseUnavailable
from services.settings import DatabaseSettings

MIGRATIONS = Path(__file__).parent / "migrations"


def alembic_config(settings: DatabaseSettings) -> Config:
    """Return Alembic's configuration for this database."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = settings.url.get_secret_value()
    return config


def migrate(settings: DatabaseSettings) -> None:
    """Upgrade to the newest revision; replicas that race wait for each other.

    Raises:
        DatabaseUnavailable: Postgres is away, or refuses.
    """
    try:
        command.upgrade(alembic_config(settings), "head")
    except OperationalError as error:
        raise DatabaseUnavailable(str(error.__cause__ or error).strip()) from error


if __name__ == "__main__":
    migrate(DatabaseSettings())
