"""Checkpoints written by a thread while training goes on; a full disk does not end the run."""

import errno
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from nvae_core.config import CheckpointPolicy
from nvae_core.run_directory import CheckpointLine, NoticeLine, RunDirectory, is_disk_full
from nvae_core.training.retention import (
    drop_checkpoint,
    expendable_steps,
    outdated_steps,
    saved_steps,
)
from nvae_core.training.snapshot import Snapshot, write_snapshot

SPARE_BYTES = 16 * 2**20  # left for progress, pictures and logs


class CheckpointSaver:
    """Writes one snapshot at a time; errors of its thread are raised by the calls that follow."""

    def __init__(
        self,
        run: RunDirectory,
        policy: CheckpointPolicy,
        *,
        write: Callable[[Path, Snapshot], None] = write_snapshot,
        spare_bytes: int = SPARE_BYTES,
    ) -> None:
        self._run = run
        self._policy = policy
        self._write = write
        self._spare_bytes = spare_bytes
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._in_flight: Future[None] | None = None
        self._saved_step: int | None = None  # the newest that is complete

    def close(self) -> None:
        """Let the save in flight finish, also after an error."""
        self._thread.shutdown()

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write a snapshot, after the one before it is done."""
        self.wait()
        self._in_flight = self._thread.submit(self._save, snapshot)

    def wait(self) -> None:
        """Return when nothing is in flight, and raise what went wrong."""
        if self._in_flight is not None:
            in_flight, self._in_flight = self._in_flight, None
            in_flight.result()

    def check(self) -> None:
        """Raise what went wrong, if the save in flight is over."""
        if self._in_flight is not None and self._in_flight.done():
            self.wait()

    def has_saved(self, step: int) -> bool:
        """Wait, and return whether the newest checkpoint is of this step."""
        self.wait()
        return self._saved_step == step

    def require(self, step: int) -> None:
        """Wait, and make sure that there is a checkpoint of this step.

        Raises:
            OSError: there was no room for it.
        """
        if not self.has_saved(step):
            message = f"there was no room for the checkpoint of step {step}, the last one"
            raise OSError(errno.ENOSPC, message)

    def _save(self, snapshot: Snapshot) -> None:
        step = snapshot.manifest.step
        path = self._run.checkpoints / snapshot.folder_name
        if not self._write_with_room(path, snapshot):
            return
        self._saved_step = step
        relative = str(path.relative_to(self._run.path))
        self._run.append(CheckpointLine(at=time.time(), step=step, path=relative))
        for outdated in outdated_steps(saved_steps(self._run.checkpoints), self._policy):
            drop_checkpoint(self._run.checkpoints, outdated)

    def _write_with_room(self, path: Path, snapshot: Snapshot) -> bool:
        """Write, and on a full disk drop older checkpoints until there is room."""
        folder = self._run.checkpoints
        folder.mkdir(exist_ok=True)
        dropped: list[int] = []
        while True:
            if self._has_room(folder, snapshot) and self._try_to_write(path, snapshot):
                break
            expendable = expendable_steps(saved_steps(folder), self._policy)
            if not expendable:
                self._notice(snapshot, dropped, "it was not saved; training goes on")
                return False
            drop_checkpoint(folder, expendable[0])
            dropped.append(expendable[0])
        if dropped:
            self._notice(snapshot, dropped, "it was saved then")
        return True

    def _has_room(self, folder: Path, snapshot: Snapshot) -> bool:
        return shutil.disk_usage(folder).free >= snapshot.num_bytes + self._spare_bytes

    def _try_to_write(self, path: Path, snapshot: Snapshot) -> bool:
        try:
            self._write(path, snapshot)
        except OSError as error:
            if is_disk_full(error):
                return False
            raise
        return True

    def _notice(self, snapshot: Snapshot, dropped: list[int], outcome: str) -> None:
        step = snapshot.manifest.step
        steps = ", ".join(str(step) for step in dropped)
        actions = [f"the local checkpoints of steps {steps} were dropped"] if dropped else []
        message = (
            f"there was no room on the disk for the checkpoint of step {step}, "
            f"{snapshot.num_bytes} bytes: {'; '.join([*actions, outcome])}"
        )
        self._run.append(NoticeLine(at=time.time(), name="disk_full", message=message, step=step))
