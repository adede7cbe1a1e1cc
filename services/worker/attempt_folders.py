"""The folders of a node's attempts: lock, log and run directory; starting and ending runners."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from nvae_core.run_directory import RunDirectory
from services.adapters.postgres.attempts import Claim
from services.adapters.processes import is_locked, kill_marked
from services.settings import WorkerSettings
from services.worker.sources import drop_staging
from services.worker.trainer import attempt_marker


def attempt_folder(data_folder: Path, attempt_id: str) -> Path:
    """Return where an attempt keeps its lock, its log and its run directory."""
    return data_folder / "attempts" / attempt_id


def is_runner_alive(data_folder: Path, attempt_id: str) -> bool:
    """Whether a runner of this machine holds the attempt's lock."""
    return is_locked(attempt_folder(data_folder, attempt_id) / "runner.lock")


def held_attempts(data_folder: Path) -> set[str]:
    """Return the attempts whose runner is alive, whatever the database says of them."""
    locks = (data_folder / "attempts").glob("*/runner.lock")
    return {lock.parent.name for lock in locks if is_locked(lock)}


def launch(settings: WorkerSettings, claim: Claim) -> subprocess.Popen[bytes]:
    """Start the runner of an attempt, in a session of its own.

    Raises:
        OSError: it cannot be started.
    """
    folder = attempt_folder(settings.data_folder, claim.attempt_id)
    folder.mkdir(parents=True, exist_ok=True)
    words = (claim.attempt_id, str(claim.fence), str(claim.node_rank))
    name, _, value = attempt_marker(claim).partition("=")
    (folder / "marker").write_text(attempt_marker(claim))
    with (
        (folder / "runner.log").open("ab") as output,
        (folder / "runner.lock").open("w") as lock,
    ):
        # The runner inherits the lock and holds it for life: there is no moment without it.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return subprocess.Popen(
            [sys.executable, "-m", "services.worker.runner", *words],
            env={**os.environ, name: value},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )


def kill_attempt(data_folder: Path, attempt_id: str) -> None:
    """Kill whatever is left of an attempt on this node, its runner too."""
    kill_marked((attempt_folder(data_folder, attempt_id) / "marker").read_text())


def drop_large_files(run_directory: RunDirectory) -> None:
    """Delete what an attempt that has ended does not need any more; its logs stay."""
    unfinished = [*run_directory.path.glob(".dataset.*"), *run_directory.path.glob(".unpacked.*")]
    for folder in (run_directory.checkpoints, run_directory.dataset, *unfinished):
        shutil.rmtree(folder, ignore_errors=True)
    drop_staging(run_directory)
