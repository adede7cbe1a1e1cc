"""Spans by OpenTelemetry, sent over OTLP/HTTP by a thread; the only place that imports it.

Where they go, how often, and which are kept is said by OpenTelemetry's own variables.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.telemetry.spans import Attributes, Span

W3C = TraceContextTextMapPropagator()
NANOSECONDS = 10**9
log = structlog.get_logger()


class BegunSpan:
    """A span of OpenTelemetry."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        """Its W3C context; None where OpenTelemetry is switched off by its own variable."""
        carrier: dict[str, str] = {}
        W3C.inject(carrier, trace.set_span_in_context(self._span))
        return carrier.get("traceparent")

    def describe(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(_present(attributes))

    def fail(self, message: str) -> None:
        """Make it an error."""
        self._span.set_status(Status(StatusCode.ERROR, message))


class OpenTelemetry:
    """The spans of one process."""

    def __init__(self, part: str) -> None:
        # At the end of a process it would wait for half a minute; `stop` does not.
        self.provider = TracerProvider(resource=_resource(part), shutdown_on_exit=False)
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self.provider.get_tracer("nvae")

    @contextmanager
    def span(self, name: str, *, parent: str | None, attributes: Attributes) -> Iterator[Span]:
        """Return a block that is a span, as `services.telemetry.tracing.span` says."""
        span = self._tracer.start_span(name, _context(parent), attributes=_present(attributes))
        begun = BegunSpan(span)
        with trace.use_span(
            span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            try:
                yield begun
            except Exception as error:  # a task that is cancelled has not failed
                begun.fail(f"{type(error).__name__}: {error}")
                raise

    def record(
        self,
        name: str,
        *,
        parent: str | None,
        started_at: float,
        ended_at: float,
        attributes: Attributes,
        error: str | None,
    ) -> str | None:
        """Tell of something that has ended, as `services.telemetry.tracing.record` says."""
        span = self._tracer.start_span(
            name,
            _context(parent),
            start_time=round(started_at * NANOSECONDS),
            attributes=_present(attributes),
        )
        begun = BegunSpan(span)
        if error is not None:
            begun.fail(error)
        span.end(round(ended_at * NANOSECONDS))
        return begun.traceparent

    def current(self) -> Span:
        """Return the current span; outside of any, one that takes everything and is not sent."""
        return BegunSpan(trace.get_current_span())

    def log_ids(self) -> dict[str, str]:
        """Return the ids of the current trace and span; empty outside of one."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {
            "trace_id": trace.format_trace_id(context.trace_id),
            "span_id": trace.format_span_id(context.span_id),
        }

    def stop(self, *, seconds: float) -> None:
        """Send what is left, in so many seconds at most."""
        # Its own limit of half a minute cannot be set from here.
        sending = threading.Thread(target=self.provider.shutdown, daemon=True)
        sending.start()
        sending.join(seconds)
        if sending.is_alive():
            log.warning("traces.not_sent", seconds=seconds)


def _resource(part: str) -> Resource:
    """Return what all spans of this process have; OpenTelemetry's variables come first."""
    own = Resource({SERVICE_NAME: f"nvae-{part}", SERVICE_VERSION: version("nvae-service")})
    given = Resource.create()
    if str(given.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return given.merge(own)
    return own.merge(given)


def _context(parent: str | None) -> Context | None:
    return None if parent is None else W3C.extract({"traceparent": parent}, Context())


def _present(attributes: Attributes) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in attributes.items() if value is not None}
