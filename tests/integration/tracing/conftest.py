"""A collector, and this process traced as a service is."""

import pytest
from otlp_collector import running_collector

from services.telemetry import tracing


@pytest.fixture(scope="module")
def collector():
    with running_collector() as collector:
        yield collector


@pytest.fixture
def traced(collector, monkeypatch):
    """What this process sends; all of it is there when it has stopped to trace."""
    for name, value in collector.environment.items():
        monkeypatch.setenv(name, value)
    collector.spans.clear()
    tracing.start("api")
    yield collector
    tracing.stop()
