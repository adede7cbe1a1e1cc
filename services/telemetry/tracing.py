"""Traces: what happened to a job, from the request to the ranks. Off, unless `NVAE_TRACING` is on.

While it is off, nothing of OpenTelemetry is imported, and a span is a call that does nothing.
"""

import os
import signal
from contextlib import AbstractContextManager
from typing import Any

import structlog

from services.settings import TracingSettings
from services.telemetry.spans import NO_ATTRIBUTES, NO_SPAN, Attributes, Span, Tracing

__all__ = [
    "Attributes",
    "current",
    "is_on",
    "load",
    "log_ids",
    "provider",
    "record",
    "span",
    "start",
    "stop",
    "stop_on_sigterm",
]
STOP_SECONDS = 2.0  # for what has not been sent yet: nobody waits longer for a collector
log = structlog.get_logger()
_tracing: Tracing | None = None


def load() -> type[Tracing] | None:
    """Import what `start` needs, if it is on; for a process that forks those that call it.

    Raises:
        SystemExit: it is on, and its packages are not installed.
    """
    if not TracingSettings().tracing:
        return None
    try:
        from services.telemetry.open_telemetry import OpenTelemetry  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"NVAE_TRACING is on, but {error.name} is not installed: install the extra `tracing`,"
            " as in pip install 'nvae-service[tracing]'"
        ) from error
    return OpenTelemetry


def start(part: str) -> None:
    """Trace this process from now on, as this part of the service, if it is on.

    After a fork, never before: the thread that sends spans does not survive one.
    """
    global _tracing  # noqa: PLW0603 - one for each process, as structlog keeps its own
    kind = load()
    try:
        _tracing = kind(part) if kind is not None else None
    except Exception as error:  # such as limits that do not go together: no trace is worth a job
        log.warning("traces.not_started", error=repr(error))


def is_on() -> bool:
    """Whether this process is traced."""
    return _tracing is not None


def span(
    name: str, *, parent: str | None = None, attributes: Attributes = NO_ATTRIBUTES
) -> AbstractContextManager[Span]:
    """Return a block that is a span, and the current one in it; an exception makes it an error.

    Args:
        name: what is done; one of few.
        parent: the `traceparent` of another process's span; without one it is the current span.
        attributes: what is known at the start; those that are None are left out.
    """
    tracing = _tracing  # another thread may stop it meanwhile
    if tracing is None:
        return NO_SPAN
    return tracing.span(name, parent=parent, attributes=attributes)


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
    tracing = _tracing
    if tracing is None:
        return None
    return tracing.record(
        name,
        parent=parent,
        started_at=started_at,
        ended_at=ended_at,
        attributes=attributes,
        error=error,
    )


def provider() -> Any:
    """Return OpenTelemetry's own provider, for libraries that can trace themselves; None if off."""
    tracing = _tracing
    return None if tracing is None else tracing.provider


def current() -> Span:
    """Return the span of the block that this is called in."""
    tracing = _tracing
    return NO_SPAN if tracing is None else tracing.current()


def log_ids(_: Any, __: str, event: Any) -> Any:
    """Add the current trace and span to an event of the log, for structlog."""
    tracing = _tracing
    return event if tracing is None else {**event, **tracing.log_ids()}


def stop() -> None:
    """Send what has not been sent, for two seconds at most; spans after that are lost."""
    global _tracing
    tracing, _tracing = _tracing, None
    if tracing is not None:
        tracing.stop(seconds=STOP_SECONDS)


def stop_on_sigterm() -> None:
    """Let SIGTERM end this process as it would anyway, but for what is still to be sent."""

    def end(*_: object) -> None:
        stop()
        os._exit(128 + signal.SIGTERM)

    if is_on():
        signal.signal(signal.SIGTERM, end)
