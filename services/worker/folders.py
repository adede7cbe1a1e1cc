"""The folders of a node's attempts: lock, log and run directory; and which of them are deleted."""

import contextlib
import fcntl
import os
import shutil
import signal
from pathlib import Path

import structlog

from nvae_core.run_directory import RunDirectory
from services.processes import is_locked, kill_marked
from services.settings import WorkerSettings
from services.worker.inputs.sources import drop_staging

LOCK_NAME = "runner.lock"  # held by the runner for life, and holds its pid
LOG_NAME = "runner.log"
log = structlog.get_logger()


def attempt_folder(data_folder: Path, attempt_id: str) -> Path:
    """Return where an attempt keeps its lock, its log and its run directory."""
    return data_folder / "attempts" / attempt_id


def is_runner_alive(data_folder: Path, attempt_id: str) -> bool:
    """Whether a runner of this machine holds the attempt's lock."""
    return is_locked(attempt_folder(data_folder, attempt_id) / LOCK_NAME)


def held_attempts(data_folder: Path) -> set[str]:
    """Return the attempts whose runner is alive, whatever the database says of them."""
    locks = (data_folder / "attempts").glob(f"*/{LOCK_NAME}")
    return {lock.parent.name for lock in locks if is_locked(lock)}


def write_marker(folder: Path, marker: str) -> None:
    """Note by which entry in their environment the attempt's processes are found."""
    (folder / "marker").write_text(marker)


def runner_pid(data_folder: Path, attempt_id: str) -> int | None:
    """Return the pid that a runner has noted in its lock; None while it has not yet."""
    try:
        return int((attempt_folder(data_folder, attempt_id) / LOCK_NAME).read_text())
    except ValueError:
        return None


def kill_attempt(data_folder: Path, attempt_id: str) -> None:
    """Kill whatever is left of an attempt on this node, its runner too."""
    folder = attempt_folder(data_folder, attempt_id)
    if is_locked(folder / LOCK_NAME) and (pid := runner_pid(data_folder, attempt_id)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    kill_marked((folder / "marker").read_text())


def drop_large_files(run_directory: RunDirectory) -> None:
    """Delete what an attempt that has ended does not need any more; its logs stay."""
    unfinished = [*run_directory.path.glob(".dataset.*"), *run_directory.path.glob(".unpacked.*")]
    for folder in (run_directory.checkpoints, run_directory.dataset, *unfinished):
        shutil.rmtree(folder, ignore_errors=True)
    drop_staging(run_directory)


def delete_old_folders(settings: WorkerSettings, *, now: float) -> None:
    """Delete the folders, with their logs, of attempts that ended; blocks, so call it in a thread.

    Args:
        settings: where they are, and how many stay for how long.
        now: seconds since 1970.
    """
    folders = [(_changed_at(path), path) for path in (settings.data_folder / "attempts").glob("*")]
    for position, (changed_at, path) in enumerate(sorted(folders, reverse=True)):
        is_old = now - changed_at > settings.keep_attempts_seconds
        if (is_old or position >= settings.keep_attempts) and _delete_unless_held(path):
            log.info("attempt.forgotten", attempt_id=path.name)


def _changed_at(folder: Path) -> float:
    log_path = folder / LOG_NAME  # written to until the end
    return (log_path if log_path.exists() else folder).stat().st_mtime


def _delete_unless_held(folder: Path) -> bool:
    """Delete the folder unless a runner holds its lock; return whether it did."""
    with (folder / LOCK_NAME).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(folder, ignore_errors=True)  # the agent may be clearing it as well
    return not folder.exists()
