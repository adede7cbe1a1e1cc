"""When training saves, what is kept, and saving itself: by a thread while training goes on."""

import errno
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from nvae_core.checkpoint import (
    CheckpointManifest,
    Snapshot,
    TrainedOn,
    checkpoint_name,
    write_checkpoint,
)
from nvae_core.config import CheckpointPolicy, ComputeConfig, OptimizationConfig, TrainConfig
from nvae_core.run_directory import (
    CheckpointLine,
    NoticeLine,
    Phase,
    RunDirectory,
    is_disk_full,
)
from nvae_core.training.batches import TrainingBatches
from nvae_core.training.reporter import PhaseClock
from nvae_core.training.resume import METRICS_PREFIX, trained_on
from nvae_core.training.state import TrainingState

SPARE_BYTES = 16 * 2**20  # left for progress, pictures and logs


class Checkpointer:
    """Saves on rank 0; on the others it does nothing. Leaving its block waits for the last save."""

    def __init__(
        self, run: RunDirectory, config: TrainConfig, batches: TrainingBatches, clock: PhaseClock
    ) -> None:
        self._config = config
        self._batches = batches
        self._clock = clock
        self._saver = CheckpointSaver(run, config.checkpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._saver.close()

    def save_when_due(self, state: TrainingState) -> None:
        """Begin to save if the policy asks for it after this step; raise what went wrong before."""
        self._saver.check()
        if state.step % self._config.checkpoint.every_steps == 0:
            self._save(state)

    def save_last(self, state: TrainingState) -> None:
        """Save this step, unless there is a checkpoint of it, and wait for that.

        Raises:
            OSError: there was no room for it.
        """
        if not self._batches.ranks.is_first:
            return
        if not self._saver.has_saved(state.step):
            self._save(state)
        self._saver.require(state.step)

    def _save(self, state: TrainingState) -> None:
        if not self._batches.ranks.is_first:
            return
        self._clock.enter(Phase.SAVE, state.step)
        self._saver.wait()  # two copies of the state take more memory than one
        self._saver.save(
            take_snapshot(
                state,
                optimization=self._config.optimization,
                seed=self._config.seed,
                compute=self._config.compute,
                trained_on=trained_on(self._batches),
            )
        )


class CheckpointSaver:
    """Writes one snapshot at a time; errors of its thread are raised by the calls that follow."""

    def __init__(
        self,
        run: RunDirectory,
        policy: CheckpointPolicy,
        *,
        write: Callable[[Path, Snapshot], None] = write_checkpoint,
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


def take_snapshot(
    state: TrainingState,
    *,
    optimization: OptimizationConfig,
    seed: int,
    compute: ComputeConfig | None = None,
    trained_on: TrainedOn | None = None,
) -> Snapshot:
    """Copy a state; on a GPU training goes on while the copy travels to the CPU."""
    metrics = {f"{METRICS_PREFIX}{n}": value for n, value in state.metrics.tensors().items()}
    manifest = CheckpointManifest(
        step=state.step,
        seed=seed,
        model=state.model.config,
        optimization=optimization,
        compute=compute,
        trained_on=trained_on,
        files={},
    )
    copies = HostCopies()
    return Snapshot(
        manifest,
        model=copies.of(dict(state.model.state_dict())),
        training=copies.of(state.training_tensors() | metrics),
        wait=copies.wait,
    )


class HostCopies:
    """Copies of tensors on the CPU, of which many are parts of few large ones: those are copied."""

    def __init__(self) -> None:
        self._storages: dict[int, Tensor] = {}
        self._stream: torch.cuda.Stream | None = None

    def of(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors like these; on a GPU they are complete only after `wait`."""
        return {name: self._copy(tensor.detach()) for name, tensor in tensors.items()}

    def wait(self) -> None:
        """Return when everything has been copied."""
        if self._stream is not None:
            self._stream.synchronize()

    def _copy(self, tensor: Tensor) -> Tensor:
        if tensor.device.type != "cuda":
            return tensor.clone(memory_format=torch.contiguous_format)
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if key not in self._storages:
            whole = tensor.new_empty(0).set_(storage)
            self._storages[key] = self._copy_whole(whole)
        size, stride, offset = tensor.size(), tensor.stride(), tensor.storage_offset()
        return self._storages[key].as_strided(size, stride, offset)

    def _copy_whole(self, tensor: Tensor) -> Tensor:
        if self._stream is None:
            self._stream = torch.cuda.Stream(tensor.device)  # type: ignore[no-untyped-call]
        duplicate = tensor.clone()  # in the order of training; the way to the CPU is longer
        self._stream.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(self._stream):
            on_host = torch.empty_like(duplicate, device="cpu", pin_memory=True)
            on_host.copy_(duplicate, non_blocking=True)
        duplicate.record_stream(self._stream)
        return on_host


def save_checkpoint(
    folder: Path, state: TrainingState, *, optimization: OptimizationConfig, seed: int
) -> Path:
    """Write `step_00000120` into a folder of checkpoints and return its path."""
    snapshot = take_snapshot(state, optimization=optimization, seed=seed)
    path = folder / snapshot.folder_name
    write_checkpoint(path, snapshot)
    return path


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, in order."""
    return sorted(int(path.name.removeprefix("step_")) for path in folder.glob("step_*"))


def outdated_steps(steps: Sequence[int], policy: CheckpointPolicy) -> list[int]:
    """Return which of the saved steps, in order, the policy does not keep."""
    return [step for step in steps[: -policy.keep_last] if not policy.is_milestone(step)]


def expendable_steps(steps: Sequence[int], policy: CheckpointPolicy) -> list[int]:
    """Return what to give up for room, first first: all but the newest, milestones last."""
    return sorted(steps[:-1], key=lambda step: (policy.is_milestone(step), step))


def drop_checkpoint(folder: Path, step: int) -> None:
    """Delete one checkpoint; a reader sees it whole or not at all."""
    path = folder / checkpoint_name(step)
    shutil.rmtree(path.rename(path.with_name(f".dropped_{path.name}")))
