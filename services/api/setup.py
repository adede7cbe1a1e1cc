"""Makes the stores ready for this version: `python -m services.api.setup`.

Tables, the bucket, a round trip of an object, and the first API key; again and again without harm.
"""

import asyncio

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from services.api.bootstrap import prepare_key
from services.database.migrate import migrate
from services.database.session import DatabaseUnavailable
from services.settings import BootstrapSettings, DatabaseSettings, StorageSettings
from services.storage.s3 import DamagedObject, S3Storage, StorageUnavailable

STORAGE_WITHIN_SECONDS = 30.0


@retry(
    retry=retry_if_exception_type((StorageUnavailable, DamagedObject)),
    stop=stop_after_delay(STORAGE_WITHIN_SECONDS),
    wait=wait_fixed(0.5),
    reraise=True,
)
def prepare_storage(storage: S3Storage) -> None:
    """Make the bucket and see that it keeps objects; a store that has just started gets some time.

    Raises:
        StorageUnavailable: the store is away, or refuses.
        DamagedObject: it does not return what was put.
    """
    storage.create_bucket()
    storage.self_test()


def main() -> None:
    """Prepare everything, or end with the first thing that is wrong."""
    database, key = DatabaseSettings(), BootstrapSettings().bootstrap_key.get_secret_value()
    migrate(database)
    prepare_storage(S3Storage(StorageSettings()))
    asyncio.run(prepare_key(database, key))


if __name__ == "__main__":
    try:
        main()
    except (DatabaseUnavailable, StorageUnavailable, DamagedObject) as error:
        raise SystemExit(f"the stores cannot be prepared: {error}") from error
