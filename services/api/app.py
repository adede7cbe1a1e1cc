"""The FastAPI application: routes, errors, request ids."""

import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI, Request, Response

from services.api.dependencies import Stores
from services.api.error_handlers import add_error_handlers
from services.api.routers import (
    catalogue,
    checkpoints,
    datasets,
    health,
    jobs,
    nodes,
    results,
)
from services.api.schemas import Problem

MAX_BODY_BYTES = 1024 * 1024
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

log = structlog.get_logger()


def create_app(stores: Stores) -> FastAPI:
    """Return the application over these stores."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await stores.watch.close()
        stores.doorbell.close()
        await stores.database.close()

    app = FastAPI(
        title="NVAE training service",
        version="1",
        description="Train, evaluate and sample NVAE models as jobs.",
        lifespan=lifespan,
        max_body_size=MAX_BODY_BYTES,
        responses={422: {"model": Problem}, 404: {"model": Problem}, 503: {"model": Problem}},
    )
    app.state.stores = stores
    app.middleware("http")(_log_request)
    add_error_handlers(app)
    for module in (jobs, results, checkpoints, datasets, catalogue, nodes, health):
        app.include_router(module.router)
    return app


async def _log_request(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    given = request.headers.get("X-Request-Id", "")
    request_id = given if REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(8)}"
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        started_at = time.monotonic()
        response = await call_next(request)
        response.headers["X-Request-Id"] = request_id
        log.info(
            "request.answered",
            method=request.method,
            path=request.url.path,
            status=response.status_code,
            milliseconds=round(1000 * (time.monotonic() - started_at), 1),
        )
    return response
