"""Unless it is switched on, tracing loads OpenTelemetry's API only: nothing makes or sends spans.

Switched on, it says what is missing where the SDK is not installed.
"""

import os
import subprocess
import sys

API = "services.api.__main__"
OTHERS = "services.scheduler.__main__, services.worker.__main__, services.worker.node.fork_server"
STARTED = "import sys, {module}; from services.telemetry import tracing; tracing.start('api')"
LOADED = "print(*(name for name in sys.modules if name.startswith({prefixes!r})))"
MAKES_AND_SENDS = (
    "opentelemetry.sdk.trace",
    "opentelemetry.exporter",
    "services.telemetry.provider",
)


def run(program, *, tracing=None):
    environment = {name: value for name, value in os.environ.items() if name != "NVAE_TRACING"}
    environment |= {"NVAE_TRACING": tracing} if tracing else {}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def loaded(module, *, prefixes, tracing=None):
    """Return the modules of these names that a service has after it has started."""
    program = f"{STARTED.format(module=module)}; {LOADED.format(prefixes=prefixes)}"
    done = run(program, tracing=tracing)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_scheduler_worker_and_runner_load_nothing_that_makes_spans_or_sends_them():
    assert loaded(OTHERS, prefixes=MAKES_AND_SENDS) == []


def test_api_loads_nothing_that_makes_spans_or_sends_them():
    assert loaded(API, prefixes=MAKES_AND_SENDS) == []


def test_service_that_is_traced_loads_what_makes_spans_and_sends_them():
    modules = loaded("services.settings", prefixes=MAKES_AND_SENDS, tracing="true")
    for prefix in MAKES_AND_SENDS:
        assert any(name.startswith(prefix) for name in modules)


def test_error_names_the_extra_that_is_missing():
    hidden = "import sys; sys.modules['opentelemetry.sdk'] = None; "
    done = run(hidden + STARTED.format(module="services.settings"), tracing="true")
    assert done.returncode == 1
    assert "nvae-service[tracing]" in done.stderr
