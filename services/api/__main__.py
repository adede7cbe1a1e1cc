"""The API server: `python -m services.api`."""

import gc

import uvicorn

from services.adapters import tracing
from services.adapters.celery_queue import DoorbellPublisher
from services.adapters.postgres.database import Database
from services.adapters.rate_limits import RateLimits
from services.adapters.s3_storage import S3Storage
from services.adapters.telemetry import configure_logging
from services.api.app import create_app
from services.api.dependencies import Stores
from services.settings import (
    ApiSettings,
    BrokerSettings,
    DatabaseSettings,
    SourceSettings,
    StorageSettings,
)


def main() -> None:
    """Serve until SIGTERM."""
    configure_logging("api")
    tracing.start("api")
    tracing.stop_on_sigterm()  # uvicorn passes it on when it has ended
    settings = ApiSettings()
    storage = StorageSettings()
    database = Database(DatabaseSettings())
    broker = BrokerSettings()
    stores = Stores.make(
        database,
        S3Storage(storage),
        DoorbellPublisher(broker),
        RateLimits(broker, per_minute=settings.requests_per_minute),
        s3_prefixes=SourceSettings().allowed(storage.bucket),
    )
    app = create_app(stores)
    gc.collect()
    gc.freeze()  # what the start has made stays; to walk through it again and again stops requests
    try:
        uvicorn.run(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=10,
        )
    finally:
        tracing.stop()


if __name__ == "__main__":
    main()
