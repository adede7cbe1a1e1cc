"""A container engine to test with: the one that answers, or one of our own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from commands import ROOT, CommandFailed, run, tell

DATA = ROOT / ".local" / "compose_test"  # images stay there for the next time
STARTS_WITHIN_SECONDS = 30.0


class NoEngine(Exception):
    """There is nothing to run containers with; the message says what to install."""


@dataclass(frozen=True)
class Engine:
    """A running engine, and the environment by which commands find it."""

    environment: dict[str, str]
    is_own: bool  # ours to put anything into

    def docker(self, *words: str, show: bool = True, within_seconds: float = 600.0) -> str:
        """Run docker and return what it prints."""
        return run(
            *("docker", *words),
            environment=self.environment,
            show=show,
            within_seconds=within_seconds,
        )


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Yield the engine that answers, or start one with a folder of its own for the time being.

    Raises:
        NoEngine: there is none, and none can be started.
    """
    if shutil.which("docker") is None:
        raise NoEngine("docker is missing; on Debian: apt-get install docker.io iptables")
    try:
        found = Engine(dict(os.environ), is_own=False)
        found.docker("version", show=False)
        yield found
    except CommandFailed:
        with _own_engine() as own:
            yield own


@contextmanager
def _own_engine() -> Iterator[Engine]:
    if shutil.which("dockerd") is None:
        raise NoEngine("no engine answers; on Debian: apt-get install docker.io iptables")
    if os.geteuid() != 0:
        raise NoEngine("no engine answers, and only root may start one")
    DATA.mkdir(parents=True, exist_ok=True)
    short = Path(tempfile.mkdtemp(prefix="nvae-"))  # the path of a socket must be short
    host = f"unix://{short}/docker.sock"
    options = ("--data-root", str(DATA / "engine"), "--exec-root", str(short / "exec"))
    with (DATA / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", *options, "--host", host, "--pidfile", str(short / "docker.pid")],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        engine = Engine(os.environ | {"DOCKER_HOST": host}, is_own=True)
        _wait_for(engine, process)
        yield engine
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        shutil.rmtree(short, ignore_errors=True)


def _wait_for(engine: Engine, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + STARTS_WITHIN_SECONDS
    while True:
        try:
            engine.docker("version", show=False)
            tell("no engine answered: one of our own runs")
            return
        except CommandFailed:
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise NoEngine(f"dockerd does not start here: {DATA / 'dockerd.log'}") from None
            time.sleep(0.5)


def compose_command() -> tuple[str, ...]:
    """Return how Docker Compose is called: the plugin of a package, next to this Python."""
    return (str(Path(sys.executable).with_name("docker-compose")),)
