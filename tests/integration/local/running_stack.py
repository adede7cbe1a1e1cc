"""A stand-in stack as a child of the test, and what of it is alive."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from waiting import wait_until

from services.local.stack import server_environment
from services.local.state import free_ports, load_or_create

SCRIPT = Path(__file__).with_name("stand_in_stack.py")


@dataclass(frozen=True)
class RunningStack:
    folder: Path
    process: subprocess.Popen[str]
    api_port: int

    @property
    def environment(self) -> dict[str, str]:
        return server_environment(self.folder, load_or_create(self.folder))

    def pid_of(self, part: str) -> int:
        """The pid of the supervisor's child whose output goes to the log of that part."""
        log = str(self.folder / "logs" / f"{part}.log")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in children.read_text().split():
            if linked(int(pid), "fd/1") == log:
                return int(pid)
        raise LookupError(part)

    def said(self) -> str:
        """What the supervisor has told the terminal."""
        return (self.folder.parent / "stderr").read_text()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(30)


def start_stack(folder: Path, *program: str, api_port: int | None = None) -> RunningStack:
    """Start the supervisor in a process group of its own; its stderr goes beside the folder."""
    api_port = api_port or free_ports(1)[0]
    with (folder.parent / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), str(api_port), *program],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            process_group=0,
        )
    return RunningStack(folder, process, api_port)


@contextmanager
def stack(folder: Path) -> Iterator[RunningStack]:
    """A stack that is up; whatever the test did to it, nothing of it is left afterwards."""
    running = start_stack(folder)
    try:
        ready = folder / "supervisor.ready"
        wait_until(
            lambda: (
                running.process.poll() is not None
                or (ready.exists() and json.loads(ready.read_text())["pid"] == running.process.pid)
            ),
            seconds=30.0,
        )
        assert running.process.poll() is None, running.said()
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()
        if running.process.stdout:
            running.process.stdout.close()


def alive(folder: Path) -> dict[int, str]:
    """Every process that shows the stack's marker, or works or was started in its folder."""
    marker = f"NVAE_STACK={load_or_create(folder).stack_id}"
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        traces = [
            linked(int(name), "cwd"),
            *content(int(name), "environ").split("\0"),
            *content(int(name), "cmdline").split("\0"),
        ]
        if any(trace == marker or str(folder) in trace for trace in traces):
            found[int(name)] = content(int(name), "cmdline").replace("\0", " ")[:200]
    return found


def linked(pid: int, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError:
        return ""


def content(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""
