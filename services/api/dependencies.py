"""What routes are handed by FastAPI: the stores, and what a client asks for beside the request.

Dependencies are coroutines throughout: FastAPI would hand plain functions to threads.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Depends, Header, Request
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict

from services.api.job_watch import JobWatch
from services.api.prometheus import Metrics
from services.database.session import Database
from services.messaging.celery import DoorbellPublisher
from services.messaging.rate_limits import RateLimits
from services.storage.s3 import S3Storage

MAX_WAIT_SECONDS = 60.0
WAIT = re.compile(r"wait(?:\s*=\s*\"?(\d{0,9})\"?)?", re.IGNORECASE)
NO_WEIGHT = re.compile(r"q\s*=\s*0(\.0*)?", re.IGNORECASE)
PICTURE = "image/png"
EVENT_STREAM = "text/event-stream"
Lines = list[str] | None  # a header may come in several lines, which are one list
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="Where a stream goes on.", max_length=50),
]


def _check_text(value: object) -> object:
    if not isinstance(value, str) or "T" not in value.upper():
        raise ValueError("must be a time such as 2026-02-15T09:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_check_text)]
"""A time with its offset, as RFC 3339 has it; a number is none."""


class Resource(BaseModel):
    """Made from the attributes of a row."""

    model_config = ConfigDict(from_attributes=True)


@dataclass(frozen=True)
class Stores:
    """Postgres, the object store, the broker; where sources may lie in S3; who waits for jobs."""

    database: Database
    storage: S3Storage
    doorbell: DoorbellPublisher
    s3_prefixes: tuple[str, ...]
    watch: JobWatch
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


async def _wait_seconds(
    prefer: Annotated[
        Lines,
        Header(
            description="`wait=N` (RFC 7240) answers when the job has ended, or after N seconds, "
            "60 at most, with the job as it is then; it goes on. `wait` alone is `wait=60`."
        ),
    ] = None,
) -> float | None:
    for preference in _members(prefer):
        if match := WAIT.fullmatch(preference.split(";")[0].strip()):
            return min(float(match[1] or MAX_WAIT_SECONDS), MAX_WAIT_SECONDS)
    return None


WaitSeconds = Annotated[float | None, Depends(_wait_seconds)]
"""How long the client wants to wait for the end of the job, None for not at all."""


def _wants(media_type: str) -> Callable[..., Awaitable[bool]]:
    async def accepts(
        accept: Annotated[Lines, Header(include_in_schema=False)] = None,
    ) -> bool:
        return any(_names(kind, media_type) for kind in _members(accept))

    return accepts


WantsStream = Annotated[bool, Depends(_wants(EVENT_STREAM))]
"""Whether the client would rather hear of it as it comes."""


WantsPicture = Annotated[bool, Depends(_wants(PICTURE))]
"""Whether the client would rather have the picture than the job."""


def _names(kind: str, media_type: str) -> bool:
    """Whether a member of `Accept` is of this type, and not there to say that it is not wanted."""
    name, *parameters = (part.strip() for part in kind.split(";"))
    return name.lower() == media_type and not any(map(NO_WEIGHT.fullmatch, parameters))


def _members(lines: Lines) -> list[str]:
    return ",".join(lines or ()).split(",")
