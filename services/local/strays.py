"""Finding and ending processes of a stack that its supervisor does not, or no longer, hold."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from services.local.environment import MARKER
from services.local.errors import StackError
from services.processes import end_all, find_marked

_SERVERS = {"postgres": "postgres", "valkey": "valkey-server", "seaweedfs": "weed"}


def sweep(find: Callable[[], set[int]], *, grace_seconds: float = 5.0) -> set[int]:
    """End what ``find`` finds, see that nothing is left, and return the pids of what there was."""
    ended, left = end_all(find, grace_seconds=grace_seconds)
    if left:
        raise StackError(f"processes that cannot be ended: {sorted(left)}")
    return ended


def all_of(folder: Path, stack_id: str) -> set[int]:
    """The pids of everything alive that belongs to a stack, our own excepted."""
    servers = (server_processes(folder / name) for name in _SERVERS)
    return _marked(stack_id).union(*servers)


def service_processes(folder: Path, stack_id: str) -> set[int]:
    """All of it without the servers."""
    # A backend that Postgres has just forked still shows the marker.
    servers = (server_processes(folder / name) for name in _SERVERS)
    return _marked(stack_id).difference(*servers)


def server_processes(home: Path) -> set[int]:
    """The processes of the server whose files are in ``home``.

    Postgres and Valkey write their titles over their environment, so the folder they work in
    tells them; the executable spares a shell that someone has open there.
    """
    program = _SERVERS.get(home.name)
    return {
        pid
        for pid in _pids()
        if program and _link(pid, "cwd") == str(home) and Path(_link(pid, "exe")).name == program
    }


def _marked(stack_id: str) -> set[int]:
    return find_marked(f"{MARKER}={stack_id}")


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            yield int(name)


def _link(pid: int, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError:
        return ""
