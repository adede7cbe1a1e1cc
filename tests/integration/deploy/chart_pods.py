"""Pods of the rendered chart as processes of this machine, on real stores."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import helm_python
import yaml
from waiting import scaled

CHART = Path(__file__).parents[3] / "deploy" / "kubernetes" / "nvae"
FIELDS = {"metadata.name": "run-nvae-worker-cpu-0", "status.podIP": "127.0.0.1"}
INHERITED = ("PATH", "LANG", "LD_LIBRARY_PATH")


class Pods:
    """What Kubernetes would do with the manifests, as far as processes go.

    Args:
        values: of the chart.
        changed: environment that this machine needs otherwise, such as a free port.
    """

    def __init__(self, values, *, changed):
        with helm_python.Chart.load(CHART) as chart:
            rendered = chart.render(values, name="run")
        texts = [text for name, text in rendered.items() if "NOTES" not in name]
        self._manifests = [m for text in texts for m in yaml.safe_load_all(text) if m]
        self._changed = changed

    def pod(self, name):
        """Return the pod template of a Deployment, StatefulSet or Job."""
        kinds = ("Deployment", "StatefulSet", "Job")
        [found] = [
            m for m in self._manifests if m["kind"] in kinds and m["metadata"]["name"] == name
        ]
        return found["spec"]["template"]["spec"]

    def environment(self, container):
        """Return a container's environment, secrets and fields looked up."""
        seen = {name: os.environ[name] for name in INHERITED if name in os.environ}
        for entry in container["env"]:
            source = entry.get("valueFrom", {})
            if reference := source.get("secretKeyRef"):
                seen[entry["name"]] = self._secret(reference["name"])[reference["key"]]
            elif reference := source.get("fieldRef"):
                seen[entry["name"]] = FIELDS[reference["fieldPath"]]
            else:
                seen[entry["name"]] = entry["value"]
        return seen | {name: str(value) for name, value in self._changed.items() if name in seen}

    def run_to_end(self, container):
        """Run a container of the migration."""
        command, environment = self._command(container), self.environment(container)
        subprocess.run(command, env=environment, check=True, timeout=scaled(60))

    @contextmanager
    def running(self, *names):
        """Run the pods' containers, and end them in order; yields the processes by pod."""
        with ExitStack() as ended:
            processes = {}
            for name in names:
                [container] = self.pod(name)["containers"]
                process = subprocess.Popen(
                    self._command(container), env=self.environment(container)
                )
                processes[name] = process
                ended.callback(_end, process)
            yield processes

    def _secret(self, name):
        [found] = [
            m for m in self._manifests if m["kind"] == "Secret" and m["metadata"]["name"] == name
        ]
        return found["stringData"]

    def _command(self, container):
        # The worker's image knows how to start it.
        python, *arguments = container.get("args", ["python", "-m", "services.worker"])
        assert python == "python"
        return [sys.executable, *arguments]


def _end(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=scaled(15))
    finally:
        process.kill()
        process.wait()
