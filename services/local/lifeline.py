"""The lock a supervisor holds for life: one supervisor per folder, and runners end without it."""

import fcntl
import os
import time
from pathlib import Path
from typing import TextIO

from services.local.errors import StackError

# A runner of the last supervisor may hold the lock shared for a moment, to see that it is free.
_PATIENCE_SECONDS = 1.0


def path_in(folder: Path) -> Path:
    """Where the lock of a data folder lies."""
    return folder / "supervisor.lock"


def hold(folder: Path) -> TextIO:
    """Take the lock until the returned file is closed, and leave our pid in it."""
    file = path_in(folder).open("a+")
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not _locked(file):
        if time.monotonic() > deadline:
            raise StackError(f"{folder} is in use by the supervisor with pid {_pid_in(file)}")
        time.sleep(0.02)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def holder(folder: Path) -> int | None:
    """The pid of the supervisor that runs on this folder, if any."""
    try:
        file = path_in(folder).open("r")
    except FileNotFoundError:
        return None
    with file:
        return None if _locked(file, shared=True) else _pid_in(file)


def _locked(file: TextIO, *, shared: bool = False) -> bool:
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid_in(file: TextIO) -> int | None:
    file.seek(0)
    text = file.read()
    return int(text) if text else None
