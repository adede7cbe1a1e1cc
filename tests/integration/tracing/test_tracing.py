"""Spans as a collector gets them, and what a process does when there is none."""

import json
import signal
import subprocess
import sys
import time

import pytest
from otlp_collector import hanging_collector, refusing_collector, with_collector
from waiting import scaled

from services.telemetry import tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT = f"00-{TRACE}-b7ad6b7169203331-01"

# What a service does around its work: it says how long that took, and how long the end.
TRACED_PROCESS = """
import json, sys, time
from services.telemetry import tracing
from services.telemetry.logging import configure_logging
configure_logging("api")
tracing.start("api")
began = time.monotonic()
for _ in range(3000):  # more than there is room for
    with tracing.span("work"):
        pass
worked = time.monotonic()
time.sleep(0.3)  # the thread that sends has begun to
tracing.stop()
print(json.dumps({"work": worked - began, "stop": time.monotonic() - worked}))
"""


def test_spans_of_a_trace_hang_together_over_processes(traced):
    with tracing.span("above", parent=CLIENT, attributes={"nvae.job.id": "job_1", "none": None}):
        carried = tracing.traceparent()
        with tracing.span("below"):
            pass
    with tracing.span("elsewhere", parent=carried):
        pass
    with tracing.span("other trace"):
        pass
    tracing.stop()
    spans = {span.name: span for span in traced.spans}
    above = spans["above"]
    assert (above.trace_id, above.parent_id) == (TRACE, "b7ad6b7169203331")
    assert (above.service, above.attributes) == ("nvae-api", {"nvae.job.id": "job_1"})
    for name in ("below", "elsewhere"):
        assert (spans[name].trace_id, spans[name].parent_id) == (TRACE, above.span_id)
    assert spans["other trace"].trace_id != TRACE


def test_what_has_ended_is_told_with_its_own_times(traced):
    own = tracing.record("rank", parent=CLIENT, started_at=1000.25, ended_at=1003.5, error="killed")
    tracing.record("train", parent=own, started_at=1001.0, ended_at=1002.0)
    tracing.stop()
    rank, train = traced.of(TRACE)
    assert (rank.started_at, rank.ended_at, rank.error) == (1000.25, 1003.5, "killed")
    assert (train.parent_id, train.error) == (rank.span_id, None)


def test_exception_makes_a_span_an_error_and_a_log_line_names_the_trace(traced):
    with pytest.raises(ValueError, match="no"), tracing.span("work", parent=CLIENT):
        logged = tracing.log_ids(None, "info", {"event": "said"})
        raise ValueError("no")
    tracing.stop()
    [span] = traced.of(TRACE)
    assert span.error == "ValueError: no"
    assert logged == {"event": "said", "trace_id": TRACE, "span_id": span.span_id}


def test_trace_that_the_client_does_not_sample_is_not_sent(traced):
    with tracing.span("work", parent=CLIENT[:-1] + "0"):
        carried = tracing.traceparent()
    tracing.stop()
    assert traced.spans == []
    assert carried.endswith("-00")  # nor is what goes on from it


@pytest.mark.parametrize("given", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01"])
def test_context_that_is_not_valid_begins_a_new_trace(traced, given):
    with tracing.span("work", parent=given):
        pass
    tracing.stop()
    [span] = traced.spans
    assert span.parent_id == ""


def test_settings_that_do_not_go_together_leave_the_service_untraced(traced, monkeypatch):
    tracing.stop()
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
    tracing.start("api")
    assert not tracing.is_on()
    with tracing.span("work"):
        pass


def test_standard_variable_names_the_service(traced, monkeypatch):
    tracing.stop()
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ours")
    tracing.start("api")
    with tracing.span("work"):
        pass
    tracing.stop()
    assert [span.service for span in traced.spans] == ["ours"]


def test_sigterm_sends_what_is_left_before_it_ends_the_process(traced):
    program = (
        "import os, signal; from services.telemetry import tracing; tracing.start('scheduler');"
        " tracing.stop_on_sigterm(); span = tracing.span('last'); span.__enter__();"
        " span.__exit__(None, None, None); os.kill(os.getpid(), signal.SIGTERM); signal.pause()"
    )
    environment = with_collector(traced) | {"OTEL_BSP_SCHEDULE_DELAY": "60000"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == 128 + signal.SIGTERM
    assert [span.name for span in traced.spans] == ["last"]


def run_traced(collector):
    """Return how long work and end took, and what the process logged."""
    done = subprocess.run(
        [sys.executable, "-c", TRACED_PROCESS],
        env=with_collector(collector),
        capture_output=True,
        text=True,
        check=True,
        timeout=scaled(30),
    )
    return json.loads(done.stdout), done.stderr


def test_collector_that_hangs_holds_nobody_up():
    began_at = time.monotonic()
    with hanging_collector() as collector:
        took, logged = run_traced(collector)
    assert took["work"] < 1.0  # of 3000 spans
    assert took["stop"] < tracing.STOP_SECONDS + 1.0
    assert time.monotonic() - began_at < 15
    assert "traces.not_sent" in logged


def test_collector_that_is_away_costs_warnings_only():
    took, logged = run_traced(refusing_collector())
    assert took["work"] < 1.0
    assert took["stop"] < tracing.STOP_SECONDS + 1.0
    lines = [json.loads(line) for line in logged.splitlines()]
    assert 0 < len(lines) < 20
    assert {line["level"] for line in lines} <= {"warning", "error"}
