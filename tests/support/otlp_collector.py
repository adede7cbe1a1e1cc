"""A collector of traces: a real OTLP/HTTP receiver that keeps what it is sent."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from waiting import wait_until

NANOSECONDS = 10**9


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it was sent; times are Unix seconds, ids hexadecimal."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    started_at: float
    ended_at: float
    attributes: dict[str, Any]
    is_server: bool
    error: str | None


@dataclass
class Collector:
    """What was sent so far."""

    url: str
    spans: list[ReceivedSpan] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process send its traces here, at once and past any proxy."""
        return {
            "NVAE_TRACING": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def of(self, trace_id: str, name: str | None = None) -> list[ReceivedSpan]:
        """Return the spans of a trace, or those of a name in it, as they began."""
        found = [span for span in list(self.spans) if span.trace_id == trace_id]
        named = [span for span in found if name in {None, span.name}]
        return sorted(named, key=lambda span: span.started_at)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait until enough has been sent."""

        def received() -> object:
            return [(span.service, span.name, span.attributes) for span in self.spans]

        wait_until(condition, seconds, failure=received)


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Receive on a free port until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    server.collector = Collector(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.collector  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def hanging_collector() -> Iterator[Collector]:
    """Take connections and never answer, until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Collector(f"http://127.0.0.1:{listening.getsockname()[1]}")


def refusing_collector() -> Collector:
    """Return one that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as once:
        return Collector(f"http://127.0.0.1:{once.getsockname()[1]}")


def with_collector(collector: Collector) -> dict[str, str]:
    """Return the environment of a process that sends its traces there."""
    return os.environ | collector.environment


class _Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces"
        request = ExportTraceServiceRequest.FromString(body)
        self.server.collector.spans += _spans(request)  # type: ignore[attr-defined]
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _spans(request: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    received = []
    for resource_spans in request.resource_spans:
        service = _attributes(resource_spans.resource.attributes)["service.name"]
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                is_error = span.status.code == span.status.STATUS_CODE_ERROR
                received.append(
                    ReceivedSpan(
                        service=service,
                        name=span.name,
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex(),
                        started_at=span.start_time_unix_nano / NANOSECONDS,
                        ended_at=span.end_time_unix_nano / NANOSECONDS,
                        attributes=_attributes(span.attributes),
                        is_server=span.kind == span.SPAN_KIND_SERVER,
                        error=span.status.message if is_error else None,
                    )
                )
    return received


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
