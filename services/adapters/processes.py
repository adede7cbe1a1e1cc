"""Finding and ending processes by a marker in their environment; seeing whether a lock is held."""

import fcntl
import os
import signal
import time
from pathlib import Path


def find_marked(marker: str) -> set[int]:
    """Return the pids, without this process, whose environment holds the entry `NAME=value`."""
    entry = marker.encode()
    found = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue  # gone, or somebody else's
        if entry in environment and state != "Z":
            found.add(int(folder.name))
    return found


def kill_marked(marker: str, *, sweeps: int = 3, pause_seconds: float = 0.2) -> set[int]:
    """Kill every marked process, sweep by sweep, and return those that are still there."""
    for _ in range(sweeps):
        remaining = find_marked(marker)
        if not remaining:
            return set()
        for pid in remaining:
            _kill(pid)
        time.sleep(pause_seconds)
    return find_marked(marker)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock on this file; one that does not exist is not locked."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
