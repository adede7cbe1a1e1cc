"""The API server: `python -m services.api`; with `--openapi` only its document, on stdout."""

import gc
import sys

import uvicorn

from services.api.app import create_app, make_app
from services.api.dependencies import Stores
from services.api.openapi import render
from services.database.session import Database
from services.messaging.celery import DoorbellPublisher
from services.messaging.rate_limits import RateLimits
from services.settings import (
    ApiSettings,
    BrokerSettings,
    DatabaseSettings,
    SourceSettings,
    StorageSettings,
)
from services.storage.s3 import S3Storage
from services.telemetry import tracing
from services.telemetry.logging import configure_logging


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
    if sys.argv[1:] == ["--openapi"]:
        sys.stdout.write(render(make_app()))
    else:
        main()
