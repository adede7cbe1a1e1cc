"""Traces: what happened to a job, from the request to the ranks. Off, unless `NVAE_TRACING` is on.

While it is off, OpenTelemetry's SDK is not imported, and spans record nothing. Where spans are
sent, how often, and which are kept is said by OpenTelemetry's own variables.
"""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.settings import TracingSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Attributes = Mapping[str, str | int | float | bool | None]
NO_ATTRIBUTES: Attributes = MappingProxyType({})
STOP_SECONDS = 2.0  # for what has not been sent yet: nobody waits longer for a collector
W3C = TraceContextTextMapPropagator()

log = structlog.get_logger()

_provider: "TracerProvider | None" = None


def load() -> Any:
    """Import OpenTelemetry's SDK, if tracing is on; for a process that forks those that call it.

    Raises:
        SystemExit: it is on, and its packages are not installed.
    """
    if not TracingSettings().tracing:
        return None
    try:
        from services.telemetry import provider as sdk  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"NVAE_TRACING is on, but {error.name} is not installed: install the extra `tracing`,"
            " as in pip install 'nvae-service[tracing]'"
        ) from error
    return sdk


def start(part: str) -> None:
    """Trace this process from now on, as this part of the service, if tracing is on.

    After a fork, never before: the thread that sends spans does not survive one.
    """
    global _provider  # noqa: PLW0603 - one for each process
    sdk = load()
    try:
        _provider = sdk.make_provider(f"nvae-{part}", version("nvae-service")) if sdk else None
    except Exception as error:  # such as limits that do not go together: no trace is worth a job
        log.warning("traces.not_started", error=repr(error))


def provider() -> "TracerProvider | None":
    """Return what makes this process' spans; None while it is not traced."""
    return _provider


def is_on() -> bool:
    """Whether this process is traced."""
    return _provider is not None


@contextmanager
def span(
    name: str, *, parent: str | None = None, attributes: Attributes = NO_ATTRIBUTES
) -> Iterator[Span]:
    """Return a block that is a span, and the current one in it; an exception makes it an error.

    Args:
        name: what is done; one of few.
        parent: the `traceparent` of another process's span; without one it is the current span.
        attributes: what is known at the start; those that are None are left out.
    """
    provider = _provider  # another thread may stop it meanwhile
    if provider is None:
        yield trace.INVALID_SPAN
        return
    begun = provider.get_tracer("nvae").start_span(name, _context(parent))
    describe(begun, attributes)
    with trace.use_span(begun, end_on_exit=True, record_exception=False) as current:
        yield current


def record(
    name: str,
    *,
    parent: str | None,
    started_at: float,
    ended_at: float,
    attributes: Attributes = NO_ATTRIBUTES,
    error: str | None = None,
) -> str | None:
    """Tell of something that has ended, at times in Unix seconds; return its `traceparent`."""
    provider = _provider
    if provider is None:
        return None
    begun = provider.get_tracer("nvae").start_span(
        name, _context(parent), start_time=round(started_at * 1e9)
    )
    describe(begun, attributes)
    if error is not None:
        fail(begun, error)
    begun.end(round(ended_at * 1e9))
    return traceparent(begun)


def describe(span: Span, attributes: Attributes) -> None:
    """Add attributes to a span; those that are None are left out."""
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})


def fail(span: Span, message: str) -> None:
    """Make a span an error."""
    span.set_status(Status(StatusCode.ERROR, message))


def current() -> Span:
    """Return the span of the block that this is called in."""
    return trace.get_current_span()


def traceparent(span: Span | None = None) -> str | None:
    """Return a span's W3C context, the current one's unless told; None while tracing is off."""
    carrier: dict[str, str] = {}
    W3C.inject(carrier, trace.set_span_in_context(span or current()))
    return carrier.get("traceparent")


def log_ids(_: Any, __: str, event: Any) -> Any:
    """Add the current trace and span to an event of the log, for structlog."""
    context = current().get_span_context()
    if not context.is_valid:
        return event
    ids = {"trace_id": trace.format_trace_id(context.trace_id)}
    return {**event, **ids, "span_id": trace.format_span_id(context.span_id)}


def stop() -> None:
    """Send what has not been sent, for two seconds at most; spans after that are lost."""
    global _provider
    provider, _provider = _provider, None
    if provider is None:
        return
    # Its own limit of half a minute cannot be set from here.
    sending = threading.Thread(target=provider.shutdown, daemon=True)
    sending.start()
    sending.join(STOP_SECONDS)
    if sending.is_alive():
        log.warning("traces.not_sent", seconds=STOP_SECONDS)


def stop_on_sigterm() -> None:
    """Let SIGTERM end this process as it would anyway, but for what is still to be sent."""

    def end(*_: object) -> None:
        stop()
        os._exit(128 + signal.SIGTERM)

    if is_on():
        signal.signal(signal.SIGTERM, end)


def _context(parent: str | None) -> Context | None:
    return None if parent is None else W3C.extract({"traceparent": parent}, Context())
