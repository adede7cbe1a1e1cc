"""One installation of the service: a compose project with passwords and ports of its own."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from commands import CommandFailed, run, tell
from engine import Engine, compose_command
from images import VERSION

from nvae_client import NvaeClient


@dataclass(frozen=True)
class Installation:
    """What `docker compose` is called with, and how its API is reached."""

    engine: Engine
    env_file: Path
    api_port: int
    s3_port: int
    project: str = "nvae-test"
    files: tuple[str, ...] = ("docker-compose.yml",)
    extra: Mapping[str, str] = field(default_factory=dict)  # environment

    @property
    def passwords(self) -> dict[str, str]:
        """Everything in .env by name."""
        lines = self.env_file.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")

    @property
    def environment(self) -> dict[str, str]:
        """What compose and its scripts get, beside .env."""
        return self.engine.environment | {
            "API_PORT": str(self.api_port),
            "S3_PORT": str(self.s3_port),
            "S3_PUBLIC_URL": f"http://127.0.0.1:{self.s3_port}",
            "NVAE_VERSION": VERSION,
            "COMPOSE": " ".join(self.command),
            "DATASETS_FOLDER": str(self.env_file.parent / "datasets"),
            **self.extra,
        }

    @property
    def command(self) -> tuple[str, ...]:
        """The command line up to compose's own words."""
        options = ("--project-name", self.project, "--env-file", str(self.env_file))
        files = (f"--file={name}" for name in self.files)
        return (*compose_command(), "--progress", "quiet", *options, *files)

    def compose(self, *words: str, show: bool = True, within_seconds: float = 240.0) -> str:
        """Run compose and return what it prints."""
        tell(f"$ docker compose {' '.join(words)}") if show else None
        return run(
            *self.command,
            *words,
            environment=self.environment,
            show=False,
            within_seconds=within_seconds,
        )

    def up(self, *words: str, within_seconds: float = 60.0) -> float:
        """Start what is not running, wait until all is healthy; return the seconds it took."""
        started_at = time.monotonic()
        limit = f"--wait-timeout={within_seconds:.0f}"
        self.compose("up", "--detach", "--no-build", "--wait", limit, *words)
        seconds = time.monotonic() - started_at
        tell(f"  healthy after {seconds:.1f} s")
        return seconds

    def client(self) -> NvaeClient:
        """Return a client with the key that opens everything."""
        return NvaeClient(
            f"http://127.0.0.1:{self.api_port}", self.passwords["NVAE_API_BOOTSTRAP_KEY"]
        )

    def containers(self) -> dict[str, str]:
        """Return the container's id of each running service; of a scaled one, any."""
        return {
            found["Service"]: found["ID"] for found in self.states() if found["State"] == "running"
        }

    def states(self) -> list[dict[str, object]]:
        """Return what compose says of every container."""
        lines = self.compose("ps", "--all", "--format=json", show=False).splitlines()
        return [json.loads(line) for line in lines]

    def is_healthy(self, service: str) -> bool:
        """Whether the service runs and passes its check."""
        states = [state for state in self.states() if state["Service"] == service]
        return bool(states) and all(state["Health"] == "healthy" for state in states)

    def kill(self, service: str) -> None:
        """Kill -9 the first process of a service, as the kernel would when memory runs out."""
        pid = self.engine.docker(
            "inspect", "--format={{.State.Pid}}", self.containers()[service], show=False
        )
        os.kill(int(pid), 9)
        tell(f"$ kill -9 {service}")

    def inside(self, service: str, *words: str) -> str:
        """Run a command in a service's container."""
        return self.compose("exec", "-T", service, *words, show=False)

    def fails_inside(self, service: str, *words: str) -> bool:
        """Whether a command in a service's container ends with an error."""
        try:
            self.inside(service, *words)
        except CommandFailed:
            return True
        return False


def wait_until(condition: Callable[[], bool], *, within_seconds: float = 60.0) -> float:
    """Wait for a condition; return the seconds it took, and fail if it does not come true."""
    started_at = time.monotonic()
    while not condition():
        assert time.monotonic() < started_at + within_seconds
        time.sleep(0.5)
    return time.monotonic() - started_at
