"""The processes of attempts on this machine: runners, torchruns, ranks; what forks runners."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path


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


def list_attempt_processes(marker: str) -> list[AttemptProcess]:
    """Return the attempts' processes with this entry in their environment, in the order of pids."""
    found = []
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
            found.append(AttemptProcess(int(folder.name), kind, environment + command))
    return sorted(found, key=lambda process: process.pid)


def _kind(name: str, command: str, environment: str) -> str | None:
    if name == "nvae-runner":
        return "runner"
    if "services.worker.node.fork_server" in command:
        return "fork server"
    if "NVAE_ATTEMPT=" not in environment:
        return None
    return "torchrun" if "torch.distributed.run" in command else "rank"
