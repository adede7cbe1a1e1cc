"""The FastAPI application: its routes, and what is around every request."""

import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api import checkpoints, datasets, health, keys, nodes, presets, results
from services.api.auth import KeyCache
from services.api.dependencies import Stores
from services.api.errors import Problem, Responses, add_error_handlers
from services.api.jobs import control, routes
from services.api.openapi import describe
from services.api.prometheus import Metrics
from services.messaging.rate_limits import Allowance
from services.telemetry import tracing

UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds
MAX_BODY_BYTES = 1024 * 1024
KEYED = (
    *(routes.router, control.router, results.log_router, results.router, checkpoints.router),
    *(datasets.router, presets.router, nodes.router, keys.router),
)
PROBLEMS: Responses = {
    400: {"model": Problem, "description": "The body is no JSON, or was not sent whole."},
    401: {"model": Problem, "description": "The key is missing or not valid."},
    403: {"model": Problem, "description": "The key is not for this."},
    404: {"model": Problem, "description": "There is no such thing in this project."},
    405: {"model": Problem, "description": "The path has other methods; `Allow` lists them."},
    413: {"model": Problem, "description": "The body is larger than 1 MiB."},
    422: {"model": Problem, "description": "A field is not valid; pointers say which."},
    429: {"model": Problem, "description": "Too many requests; `Retry-After` says when."},
    503: {"model": Problem, "description": "A store is away; `Retry-After` says when."},
}
TAGS = [
    {"name": "jobs", "description": "What is to be done: train, evaluate, sample, analyze."},
    {"name": "results", "description": "What jobs leave: metrics and files."},
    {"name": "checkpoints", "description": "Trained models, to use and to keep."},
    {"name": "data sets", "description": "Images to train on."},
    {"name": "presets", "description": "The paper's configurations, and small ones."},
    {"name": "nodes", "description": "Machines that run jobs."},
    {"name": "keys", "description": "Who may use the API."},
    {"name": "health", "description": "For load balancers and Prometheus."},
]
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
log = structlog.get_logger()


def make_app(lifespan: Any = None) -> FastAPI:
    """Return an application with its routes, and nothing behind them yet."""
    app = FastAPI(
        title="NVAE training service",
        version="1",
        description="Train, evaluate and sample NVAE models as jobs.",
        openapi_tags=TAGS,
        generate_unique_id_function=lambda route: f"{route.tags[0]}_{route.name}".replace(" ", "_"),
        lifespan=lifespan,
        max_body_size=MAX_BODY_BYTES,
        redirect_slashes=False,
        telemetry=_telemetry(),
    )
    for router in KEYED:
        app.include_router(router, responses=PROBLEMS)
    app.include_router(health.router, responses={405: PROBLEMS[405]})
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def _telemetry() -> TelemetryConfig:
    """Return what FastAPI tells of requests: one span each, where tracing is on."""
    return {
        "tracing": tracing.is_on(),
        "tracer_provider": tracing.provider(),
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "auto_configure": False,
        "exclude": lambda scope: scope["path"] in UNTRACED,
    }


def create_app(stores: Stores) -> FastAPI:
    """Return the application over these stores."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stores.rates.start()
        yield
        await stores.rates.close()
        await stores.watch.close()
        stores.doorbell.close()
        await stores.database.close()

    app = make_app(lifespan)
    app.state.stores = stores
    app.state.keys = KeyCache(stores.database)
    app.add_middleware(RequestContext, metrics=stores.metrics)
    add_error_handlers(app)
    return app


class RequestContext:
    """ASGI middleware; an answer may be a stream that lasts for hours."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent_id = Headers(scope=scope).get("X-Request-Id", "")
        request_id = sent_id if REQUEST_ID.fullmatch(sent_id) else f"req_{secrets.token_hex(8)}"
        tracing.current().set_attribute("nvae.request.id", request_id)
        state: dict[str, Any] = scope.setdefault("state", {})
        status = 500
        started_at = time.monotonic()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                route = getattr(scope.get("route"), "path", "none")
                seconds = time.monotonic() - started_at
                self._metrics.answered(scope["method"], route, status, seconds)
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                if isinstance(allowance := state.get("allowance"), Allowance):
                    headers["RateLimit-Limit"] = str(allowance.limit)
                    headers["RateLimit-Remaining"] = str(allowance.remaining)
                    headers["RateLimit-Reset"] = str(allowance.reset_seconds)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_headers)
            finally:
                caller = state.get("caller")
                log.info(
                    "request.answered",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    milliseconds=round(1000 * (time.monotonic() - started_at), 1),
                    key=caller.key_id if caller else None,
                )
