"""Finding and ending processes by a marker in their environment; seeing whether a lock is held."""

import asyncio
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

POLL_SECONDS = 0.05
KILL_WITHIN_SECONDS = 5.0


def find_marked(marker: str) -> set[int]:
    """Return the pids, without this process, whose environment holds the entry `NAME=value`."""
    name, _, value = marker.partition("=")
    return {
        process.pid
        for process in psutil.process_iter(["environ"])  # none of a zombie, or of another user
        if process.pid != os.getpid() and (process.info["environ"] or {}).get(name) == value
    }


def kill_marked(marker: str) -> set[int]:
    """Kill every process with this marker and return those that are still there after seconds."""
    _, left = end_all(lambda: find_marked(marker), grace_seconds=0.0)
    return left


def end_all(find: Callable[[], set[int]], *, grace_seconds: float) -> tuple[set[int], set[int]]:
    """End what `find` finds: SIGTERM, and SIGKILL after the grace; SIGKILL at once without one.

    Returns:
        The pids of what there was, and of what is still there.
    """
    left: set[int] = set()
    ended: set[int] = set()
    stages = [(signal.SIGTERM, grace_seconds), (signal.SIGKILL, KILL_WITHIN_SECONDS)]
    for how, within_seconds in stages if grace_seconds else stages[1:]:
        deadline = time.monotonic() + within_seconds
        signalled: set[int] = set()
        # Again and again, because one may fork while we look.
        while left := find():
            _send(how, left - signalled)
            signalled |= left
            ended |= left
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL_SECONDS)
        if not left:
            break
    return ended, left


def _send(how: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            continue


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


async def wait_until_unlocked(path: Path, *, interval_seconds: float = 1.0) -> None:
    """Return once nobody holds the lock on this file any more."""
    while is_locked(path):
        await asyncio.sleep(interval_seconds)
