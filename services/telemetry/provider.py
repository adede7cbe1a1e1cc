"""What makes and sends spans: OpenTelemetry's SDK, imported only where tracing is on."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def make_provider(service: str, version: str) -> TracerProvider:
    """Return what makes spans of this service and sends them over OTLP/HTTP, by a thread."""
    # At the end of a process it would wait for half a minute; `tracing.stop` does not.
    provider = TracerProvider(resource=_resource(service, version), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _resource(service: str, version: str) -> Resource:
    """Return what all spans of this process have; OpenTelemetry's variables come first."""
    default = Resource({SERVICE_NAME: service, SERVICE_VERSION: version})
    chosen = Resource.create()
    if str(chosen.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return chosen.merge(default)
    return default.merge(chosen)
