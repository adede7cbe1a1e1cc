"""What the API offers: every route, and what its document says beside them."""

from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from services.adapters import tracing
from services.api.openapi import describe
from services.api.routers import (
    api_keys,
    catalogue,
    checkpoints,
    control,
    datasets,
    health,
    jobs,
    logs,
    nodes,
    results,
)
from services.api.schemas.problems import Problem, Responses

UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds
MAX_BODY_BYTES = 1024 * 1024
KEYED = (jobs, control, logs, results, checkpoints, datasets, catalogue, nodes, api_keys)
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


def make_surface(lifespan: Any = None) -> FastAPI:
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
    for module in KEYED:
        app.include_router(module.router, responses=PROBLEMS)
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
