"""Whole stacks as a user starts them, on free ports and in folders of their own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from waiting import scaled, wait_until

from services.local.state import free_ports, load_or_create
from services.processes import find_marked
from services.worker.sampler.client import connect, sampler_folder

LEASE = {"NVAE_LEASE_SECONDS": str(scaled(6))}  # what is killed is noticed in seconds


@dataclass(frozen=True)
class Stack:
    """A running stack: its folder, its folder of image sources, and its API."""

    folder: Path
    sources: Path
    url: str

    @property
    def api_key(self) -> str:
        """The key that opens everything."""
        return load_or_create(self.folder).api_key

    def logs(self, name: str = "*.log") -> list[bytes]:
        """Return what is in every log of that name, while its runners remove what has ended."""
        walked = os.walk(self.folder)  # unlike rglob it goes on where a folder has gone
        paths = (Path(folder, file) for folder, _, files in walked for file in files)
        logs = []
        for path in paths:
            if path.match(name):
                with contextlib.suppress(FileNotFoundError):
                    logs.append(path.read_bytes())
        return logs

    def residents(self) -> list[int]:
        """Return the pids of its resident samplers."""
        marked = find_marked(f"NVAE_STACK={load_or_create(self.folder).stack_id}")
        return [pid for pid in marked if "resident_sampler" in _command_of(pid)]

    def wait_for_resident(self, slot_kind: str = "cpu", slot: str = "0") -> None:
        """Wait until the resident sampler of a slot answers."""
        folder = sampler_folder(self.folder / "worker", slot_kind, slot)
        wait_until(lambda: connect(folder)).close()


@contextmanager
def running_stack(
    tmp_path_factory: pytest.TempPathFactory, environment: Mapping[str, str] = os.environ
) -> Iterator[Stack]:
    """Start a stack with two slots, and stop it at the end."""
    environment = {**environment, **LEASE}
    folder = tmp_path_factory.mktemp("stack")
    sources = tmp_path_factory.mktemp("sources")
    [port] = free_ports(1)
    _run(
        *("up", "--detach", "--data", str(folder), "--datasets", str(sources)),
        *("--api-port", str(port), "--slots", "2"),
        environment=environment,
    )
    yield Stack(folder, sources, f"http://127.0.0.1:{port}")
    _run("down", "--data", str(folder), environment=environment)


def _run(*words: str, environment: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "services.local", *words]
    subprocess.run(command, check=True, timeout=scaled(120), env=environment)


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
