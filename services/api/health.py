"""Whether the API is up, and whether the stores behind it are."""

import asyncio
from collections.abc import Awaitable

import structlog
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from services.api.dependencies import StoresDependency

router = APIRouter(tags=["health"])
log = structlog.get_logger()


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """Answer as long as the process serves requests."""
    return {"status": "ok"}


@router.get("/readyz")
async def ready(stores: StoresDependency) -> JSONResponse:
    """Answer 200 when Postgres and the object store can be reached, else 503.

    The broker is reported and does not count: without it jobs only start a little later.
    """
    checks = {
        "database": _passes("database", stores.database.check()),
        "storage": _passes("storage", asyncio.to_thread(stores.storage.check)),
        "broker": _passes("broker", asyncio.to_thread(stores.doorbell.check)),
    }
    passed = dict(zip(checks, await asyncio.gather(*checks.values()), strict=True))
    is_ready = passed["database"] and passed["storage"]
    return JSONResponse(passed, status_code=200 if is_ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(stores: StoresDependency) -> Response:
    """Show counts for Prometheus: of all projects together, and of none by name."""
    return Response(await stores.metrics.render(), media_type=CONTENT_TYPE_LATEST)


async def _passes(name: str, check: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(5):
            await check
    except Exception as error:
        log.warning("readiness.failed", store=name, error=repr(error))
        return False
    return True
