"""Makes the first API key: `python -m services.api.bootstrap`, again and again without harm.

The key is chosen by whoever deploys the service (`NVAE_API_BOOTSTRAP_KEY`), has the scope `admin`,
and makes all others. Revoked, it stays so.
"""

import asyncio

from services.database import api_keys
from services.database.session import Database, DatabaseUnavailable
from services.domain.access import DEFAULT_PROJECT, Scope, hash_key
from services.settings import BootstrapSettings, DatabaseSettings


async def make_first_key(database: Database, key: str) -> bool:
    """Store the key unless it is there; return whether it is new."""
    async with database.transaction() as session:
        if await api_keys.find_by_hash(session, hash_key(key)) is not None:
            return False
        await api_keys.insert(
            session, key, name="bootstrap", project=DEFAULT_PROJECT, scopes=[Scope.ADMIN]
        )
    return True


async def prepare_key(settings: DatabaseSettings, key: str) -> None:
    """Store the key in this database unless it is there; raises DatabaseUnavailable."""
    database = Database(settings)
    try:
        await make_first_key(database, key)
    finally:
        await database.close()


if __name__ == "__main__":
    chosen = BootstrapSettings().bootstrap_key.get_secret_value()
    try:
        asyncio.run(prepare_key(DatabaseSettings(), chosen))
    except DatabaseUnavailable as error:
        raise SystemExit(f"the first key cannot be stored: {error}") from error
