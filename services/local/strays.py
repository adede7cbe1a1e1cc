"""Finding and ending processes of a stack that its supervisor does not, or no longer, hold."""

import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from services.local.environment import MARKER
from services.local.errors import StackError

_SERVERS = ("postgres", "valkey", "seaweedfs")
_PROGRAMS = ("postgres", "valkey-server", "weed")
_POLL_SECONDS = 0.05
_KILL_WITHIN_SECONDS = 5.0


def sweep(
    folder: Path,
    stack_id: str,
    *,
    spare: Collection[int] = (),
    servers: bool = True,
    grace_seconds: float = 5.0,
) -> None:
    """End every stray: SIGTERM, SIGKILL after the grace, and see that nothing is left.

    ``spare`` names pids to leave alone, ``servers=False`` everything that is one of our servers.
    """
    left: set[int] = set()
    for how, patience_seconds in (
        (signal.SIGTERM, grace_seconds),
        (signal.SIGKILL, _KILL_WITHIN_SECONDS),
    ):
        deadline = time.monotonic() + patience_seconds
        told: set[int] = set()
        # Again and again, because a stray may fork while we look.
        while left := set(find(folder, stack_id, servers=servers)) - set(spare):
            _send(how, left - told)
            told |= left
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        if not left:
            return
    raise StackError(f"processes that cannot be ended: {sorted(left)}")


def find(folder: Path, stack_id: str, *, servers: bool = True) -> Iterator[int]:
    """The pids of the stack's living processes, our own excepted."""
    marker = f"{MARKER}={stack_id}".encode()
    homes = {str(folder / name) for name in _SERVERS}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        is_server = _works_in(entry, homes)
        if (is_server and servers) or (not is_server and _is_marked(entry, marker)):
            yield int(entry.name)


def _is_marked(process: Path, marker: bytes) -> bool:
    try:
        return marker in (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is another user's
        return False


def _works_in(process: Path, homes: Collection[str]) -> bool:
    # Postgres and Valkey write their titles over their environment; their folder tells them.
    # The executable spares a shell that someone has open there.
    try:
        program = (process / "exe").readlink().name
        return program in _PROGRAMS and str((process / "cwd").readlink()) in homes
    except OSError:
        return False


def _send(how: signal.Signals, pids: Collection[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            continue
