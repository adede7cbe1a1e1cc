"""What routes need, handed to them by FastAPI."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from services.adapters.celery_queue import DoorbellPublisher
from services.adapters.postgres.database import Database
from services.adapters.s3_storage import S3Storage
from services.api.watching import JobWatch


@dataclass(frozen=True)
class Stores:
    """Postgres, the object store, the broker; where sources may lie in S3; who waits for jobs."""

    database: Database
    storage: S3Storage
    doorbell: DoorbellPublisher
    s3_prefixes: tuple[str, ...]
    watch: JobWatch


def _stores(request: Request) -> Stores:
    stores = request.app.state.stores
    assert isinstance(stores, Stores)
    return stores


StoresDependency = Annotated[Stores, Depends(_stores)]
