"""Servers, services and nodes on one machine: processes that tests kill, hold and cut off.

Services reach the servers through proxies. Nodes have addresses of their own on the loopback
interface, and a folder each.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from proxy import Proxy

from services.database.migrate import migrate
from services.local import processes, state
from services.local.processes import Part, bring_up, take_down
from services.local.stack import inherited, server_environment, server_parts
from services.local.state import HOST, create_folder, load_or_create
from services.settings import DatabaseSettings

STAND_IN = (sys.executable, "-S", str(Path(__file__).with_name("stand_in_trainer.py")))
WAIT_SECONDS = 90.0
POLL_SECONDS = 0.05
PROXIED = {
    "postgres": "NVAE_DATABASE_URL",
    "valkey": "NVAE_BROKER_URL",
    "s3": "NVAE_S3_ENDPOINT_URL",
}


@dataclass(frozen=True)
class AttemptProcess:
    """One process, and the folder it works for."""

    pid: int
    kind: str  # runner, torchrun, rank or fork server
    where: str  # what it was started with

    def send(self, how: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        try:
            os.kill(self.pid, how)
        except ProcessLookupError:
            return


class Cluster:
    """Everything a service needs; use it in a `with` block, from the main thread."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = create_folder(folder)
        self.settings = settings
        self._stack = load_or_create(self.folder)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._cleanup = ExitStack()
        self._proxying = ExitStack()

    def __enter__(self) -> "Cluster":
        with ExitStack() as starting:
            starting.enter_context(closing(state.hold_parent_lock(self.folder)))
            starting.callback(self._stop_all)
            self._servers = {part.name: part for part in server_parts(self.folder, self._stack)}
            for name in self._servers:
                self.start_server(name)
            direct = server_environment(self.folder, self._stack)
            self.database_url = direct["NVAE_DATABASE_URL"]
            migrate(DatabaseSettings(url=self.database_url))
            starting.enter_context(self._proxying)
            self.proxies, self.environment = self.open_proxies()
            self._cleanup = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def open_proxies(self, address: str = "127.0.0.1") -> tuple[dict[str, Proxy], dict[str, str]]:
        """Return proxies to the servers at an address, and what leads services through them."""
        proxies: dict[str, Proxy] = {}
        environment = server_environment(self.folder, self._stack)
        for name, variable in PROXIED.items():
            port = getattr(self._stack, f"{name}_port")
            proxies[name] = self._proxying.enter_context(closing(Proxy(port, address)))
            direct = f"{HOST}:{port}"
            proxied = f"{address}:{proxies[name].port}"
            environment[variable] = environment[variable].replace(direct, proxied)
        return proxies, environment

    def start_server(self, name: str) -> None:
        """Start Postgres, Valkey or SeaweedFS, after a kill too."""
        part = self._servers[name]
        if part.folder:
            home = part.folder
            processes.end_leftovers(lambda: processes.server_processes(home))
        environment = inherited(server_environment(self.folder, self._stack))
        self._running[name] = bring_up(part, environment=environment, logs=self.folder / "logs")

    def start_scheduler(self, name: str = "scheduler", **settings: str) -> None:
        """Start a scheduler; a second one waits until the first is gone."""
        self._start(name, ("-m", "services.scheduler"), **settings)

    def start_worker(
        self,
        node: str,
        *,
        number: int = 1,
        slots: int = 2,
        within: Sequence[str] = (),
        **settings: str,
    ) -> None:
        """Start the worker of a node, below a command if need be; again after it was killed."""
        own = self._node_settings(node, number=number, slots=slots)
        self._start(f"worker-{node}", ("-m", "services.worker"), within=within, **(own | settings))

    def send(self, name: str, how: signal.Signals) -> None:
        """Send a signal to a server or service; a killed one is waited for."""
        process = self._running[name]
        process.send_signal(how)
        if how == signal.SIGKILL:
            process.wait()

    def kill(self, name: str) -> None:
        """End a server or service at once."""
        self.send(name, signal.SIGKILL)

    def attempt_processes(self, kind: str, node: str = "") -> list[AttemptProcess]:
        """Return the live runners, torchruns or ranks, of one node or of all."""
        folder = str(self.folder / "nodes" / node)
        return [
            process
            for process in _list_attempt_processes(f"NVAE_STACK={self._stack.stack_id}")
            if process.kind == kind and folder in process.where
        ]

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return what Postgres itself says, without a proxy in between."""
        url = self.database_url.replace("postgresql+psycopg://", "postgresql://")
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def job(self, job_id: str) -> dict[str, Any]:
        """Return the job's row."""
        [(row,)] = self.query("SELECT to_jsonb(jobs) FROM jobs WHERE id = %s", job_id)
        return dict(row)

    def wait_for_job(self, job_id: str, status: str, seconds: float = WAIT_SECONDS) -> float:
        """Wait for a status and return how long that took."""
        return self.wait_until(lambda: self.job(job_id)["status"] == status, seconds, job_id)

    def wait_for_step(self, job_id: str, step: int, seconds: float = WAIT_SECONDS) -> float:
        """Wait until the job has reported this step, and return how long that took."""
        return self.wait_until(lambda: (self.job(job_id)["step"] or 0) >= step, seconds, job_id)

    def wait_until(
        self, condition: Callable[[], bool], seconds: float = WAIT_SECONDS, job_id: str = ""
    ) -> float:
        """Wait until a condition holds, and return how long that took.

        Raises:
            AssertionError: after as many polls as fit into the seconds. On a slow machine polls
                take longer, so it has more time.
        """
        began_at = time.monotonic()
        for _ in range(round(seconds / POLL_SECONDS)):
            if condition():
                return time.monotonic() - began_at
            time.sleep(POLL_SECONDS)
        waited = time.monotonic() - began_at
        raise AssertionError(f"not within {waited:.0f} s\n{self._describe(job_id)}")

    def _describe(self, job_id: str) -> str:
        events = "SELECT number, at::text, type, data FROM events WHERE job_id = %s ORDER BY number"
        lines = [str(row) for row in self.query(events, job_id)]
        for log in sorted((self.folder / "logs").glob("[sw]*.log")):
            lines += [f"== {log.name}", processes.last_lines(log)]
        for log in sorted(self.folder.glob("nodes/*/attempts/*/runner.log")):
            lines += [f"== {log.parent.name}", processes.last_lines(log)]
        return "\n".join(lines)

    def _node_settings(self, node: str, *, number: int, slots: int) -> dict[str, str]:
        return {
            "NVAE_WORKER_NODE_NAME": node,
            "NVAE_WORKER_DATA_FOLDER": str(self.folder / "nodes" / node),
            "NVAE_WORKER_SLOTS": str(slots),
            "NVAE_WORKER_ADDRESS": f"127.0.0.{number}",
        }

    def _start(
        self, name: str, program: Sequence[str], *, within: Sequence[str] = (), **settings: str
    ) -> None:
        part = Part(name=name, command=(*within, sys.executable, *program))
        named = {"PGAPPNAME": name}  # Postgres shows it beside each connection
        environment = inherited({**self.environment, **self.settings, **settings, **named})
        self._running[name] = bring_up(part, environment=environment, logs=self.folder / "logs")

    def _stop_all(self) -> None:
        for name, process in reversed(self._running.items()):
            if name not in self._servers:
                process.send_signal(signal.SIGCONT)
                processes.stop(process, signal.SIGTERM, grace_seconds=5)
        stack = (self.folder, self._stack.stack_id)
        processes.end_leftovers(lambda: processes.service_processes(*stack), grace_seconds=0)
        for name, part in self._servers.items():
            take_down(part, self._running[name])
        processes.end_leftovers(lambda: processes.leftover_processes(*stack))


def stand_in_settings(*options: str) -> dict[str, str]:
    """Let nodes train without torch."""
    return {"NVAE_WORKER_TRAINER_COMMAND": json.dumps([*STAND_IN, *options])}


def _list_attempt_processes(marker: str) -> list[AttemptProcess]:
    """Return the attempts' processes with this entry in their environment, in the order of pids."""
    attempt_processes = []
    for folder in Path("/proc").iterdir():
        try:
            environment = (folder / "environ").read_bytes().decode(errors="replace")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            name = (folder / "comm").read_text().strip()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue
        kind = _kind(name, command, environment)
        if state != "Z" and kind and marker in environment.split("\0"):
            attempt_processes.append(AttemptProcess(int(folder.name), kind, environment + command))
    return sorted(attempt_processes, key=lambda process: process.pid)


def _kind(name: str, command: str, environment: str) -> str | None:
    if name == "nvae-runner":
        return "runner"
    if "services.worker.node.fork_server" in command:
        return "fork server"
    if "NVAE_ATTEMPT=" not in environment:
        return None
    return "torchrun" if "torch.distributed.run" in command else "rank"
