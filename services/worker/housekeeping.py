"""What a node throws away by itself: the folders of attempts that ended, but not the newest."""

import fcntl
import shutil
from pathlib import Path

import structlog

from services.settings import WorkerSettings
from services.worker.attempt_folders import LOCK_NAME, LOG_NAME

log = structlog.get_logger()


def clean_node(settings: WorkerSettings, *, now: float) -> None:
    """Delete the folders, with their logs, of attempts that ended; blocks, so call it in a thread.

    Args:
        settings: where they are, and how many stay for how long.
        now: seconds since 1970.
    """
    found = [(_changed_at(path), path) for path in (settings.data_folder / "attempts").glob("*")]
    for position, (changed_at, path) in enumerate(sorted(found, reverse=True)):
        is_old = now - changed_at > settings.keep_attempts_seconds
        if (is_old or position >= settings.keep_attempts) and _drop(path):
            log.info("attempt.forgotten", attempt_id=path.name)


def _changed_at(folder: Path) -> float:
    log_path = folder / LOG_NAME  # written to until the end
    return (log_path if log_path.exists() else folder).stat().st_mtime


def _drop(folder: Path) -> bool:
    """Delete the folder unless a runner holds its lock; return whether it did."""
    with (folder / LOCK_NAME).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(folder, ignore_errors=True)  # the agent may be clearing it as well
    return not folder.exists()
