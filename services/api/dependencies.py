"""What routes need, handed to them by FastAPI."""

from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Depends, Request

from services.adapters.celery_queue import DoorbellPublisher
from services.adapters.postgres.database import Database
from services.adapters.rate_limits import RateLimits
from services.adapters.s3_storage import S3Storage
from services.api.key_ring import KeyRing
from services.api.prometheus import Metrics
from services.api.watching import JobWatch


@dataclass(frozen=True)
class Stores:
    """Postgres, the object store, the broker; where sources may lie in S3; who waits for jobs."""

    database: Database
    storage: S3Storage
    doorbell: DoorbellPublisher
    s3_prefixes: tuple[str, ...]
    watch: JobWatch
    keys: KeyRing
    rates: RateLimits
    metrics: Metrics

    @classmethod
    def make(
        cls,
        database: Database,
        storage: S3Storage,
        doorbell: DoorbellPublisher,
        rates: RateLimits,
        *,
        s3_prefixes: tuple[str, ...],
    ) -> Self:
        """Return them, with what the API itself keeps in memory."""
        return cls(
            database=database,
            storage=storage,
            doorbell=doorbell,
            s3_prefixes=s3_prefixes,
            watch=JobWatch(database),
            keys=KeyRing(database),
            rates=rates,
            metrics=Metrics(database),
        )


def stores_of(request: Request) -> Stores:
    """Return what the application was made with."""
    stores = request.app.state.stores
    assert isinstance(stores, Stores)
    return stores


async def _find_stores(request: Request) -> Stores:
    return stores_of(request)  # a plain function would be handed to a thread


StoresDependency = Annotated[Stores, Depends(_find_stores)]
