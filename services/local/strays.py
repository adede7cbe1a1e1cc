"""Finding and ending processes of a stack that its supervisor does not, or no longer, hold."""

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from services.adapters.processes import find_marked
from services.local.environment import MARKER
from services.local.errors import StackError

_SERVERS = {"postgres": "postgres", "valkey": "valkey-server", "seaweedfs": "weed"}
_POLL_SECONDS = 0.05
_KILL_WITHIN_SECONDS = 5.0


def sweep(find: Callable[[], set[int]], *, grace_seconds: float = 5.0) -> set[int]:
    """End what ``find`` finds: SIGTERM, SIGKILL after the grace, and see that nothing is left.

    Returns the pids of what there was.
    """
    left: set[int] = set()
    ended: set[int] = set()
    for how, patience_seconds in (
        (signal.SIGTERM, grace_seconds),
        (signal.SIGKILL, _KILL_WITHIN_SECONDS),
    ):
        deadline = time.monotonic() + patience_seconds
        told: set[int] = set()
        # Again and again, because a stray may fork while we look.
        while left := find():
            _send(how, left - told)
            told |= left
            ended |= left
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        if not left:
            return ended
    raise StackError(f"processes that cannot be ended: {sorted(left)}")


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


def _send(how: signal.Signals, pids: Collection[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            continue
