"""What ends a run that goes wrong: a rank that hangs, or a run that takes too much of the disk."""

import os
import shutil
import signal
import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from nvae_core.run_directory import Phase, RankState, RunDirectory
from services.processes import find_marked

STEPS_REMEMBERED = 101
STEP_FACTOR = 10.0
WRITE_STACKS_SECONDS = 1.0
log = structlog.get_logger()
LOOK_SECONDS = 5.0
RUNS_SHARE = 0.5  # of the disk; the other half is for the cache of inputs, and for who else uses it


@dataclass
class StallWatch:
    """Knows how long steps take, and says when a rank takes far longer.

    Attributes:
        run_directory: where the ranks' files are.
        step_seconds: a step may always take this long, and otherwise ten times the median.
        phase_seconds: any other phase, and the first step, may take this long.
        started_at: when the trainer was started; None if its program has no ranks' files.
    """

    run_directory: RunDirectory
    step_seconds: float
    phase_seconds: float
    started_at: float | None
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=STEPS_REMEMBERED))
    _last_step: int = -1

    def look(self, now: float) -> str | None:
        """Return which rank hangs and where, or None.

        Args:
            now: of the machine's monotonic clock, which the ranks' files use too.
        """
        try:
            ranks = self.run_directory.read_ranks()
        except (OSError, ValueError):  # being made, or garbage
            ranks = {}
        if not ranks and self.started_at is not None:
            seconds = now - self.started_at
            is_silent = seconds > self.phase_seconds
            return f"no rank has said anything for {seconds:.0f} s" if is_silent else None
        self._learn(ranks)
        limit_seconds = self._limit_seconds(ranks)
        for rank, state in ranks.items():
            if now - state.since > limit_seconds:
                return f"rank {rank} hangs in {state.describe(now)}"
        return None

    def _learn(self, ranks: dict[int, RankState]) -> None:
        slowest = max(ranks.values(), key=lambda state: state.step_seconds, default=None)
        if slowest is not None and slowest.step != self._last_step and slowest.step_seconds > 0:
            self._last_step = slowest.step
            self._recent.append(slowest.step_seconds)

    def _limit_seconds(self, ranks: dict[int, RankState]) -> float:
        """Return how long a phase may take; ranks that step may wait for one that does not."""
        step = all(state.phase in {Phase.DATA, Phase.STEP} for state in ranks.values())
        if not step or not self._recent or 0 not in ranks:  # it alone saves and draws samples
            return self.phase_seconds
        return max(self.step_seconds, STEP_FACTOR * statistics.median(self._recent))


def dump_stacks(run_directory: RunDirectory, marker: str) -> None:
    """Let each rank that still can append the stacks of its threads to its file; blocks."""
    ours = find_marked(marker)
    for rank, state in run_directory.read_ranks().items():
        if state.process_id in ours:
            os.kill(state.process_id, signal.SIGUSR1)
            log.warning("rank.stacks_asked_for", rank=rank, pid=state.process_id)
    time.sleep(WRITE_STACKS_SECONDS)


@dataclass
class DiskShare:
    """How much of the disk the run directory of an attempt may take.

    Attributes:
        run: the run directory.
        limit_bytes: how much.
    """

    run: Path
    limit_bytes: int
    _look_at: float = 0.0

    @classmethod
    def of(cls, run: Path, *, num_slots: int, slots_of_node: int, given: int | None) -> "DiskShare":
        """Return the share of an attempt with so many of the node's slots.

        Args:
            run: the run directory.
            num_slots: of the attempt on this node.
            slots_of_node: all of them.
            given: bytes for each slot; none: the slots share half of the disk.
        """
        per_slot = given or int(RUNS_SHARE * shutil.disk_usage(run).total / slots_of_node)
        return cls(run, per_slot * num_slots)

    def look(self, now: float) -> str | None:
        """Return what is wrong, or None; now and then only, because it reads the folder."""
        if now < self._look_at:
            return None
        self._look_at = now + LOOK_SECONDS
        num_bytes = _size_bytes(self.run)
        if num_bytes <= self.limit_bytes:
            return None
        return (
            f"the run took {num_bytes} bytes of the disk, and its share is {self.limit_bytes}"
            " (NVAE_WORKER_RUN_BYTES_PER_SLOT): keep fewer checkpoints, or larger disks"
        )


def _size_bytes(folder: Path) -> int:
    """Return what the files take on the disk, which of a sparse one is less than its size."""
    num_bytes = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                num_bytes += 512 * os.lstat(Path(parent, name)).st_blocks
            except FileNotFoundError:  # the trainer has just dropped it
                continue
    return num_bytes
