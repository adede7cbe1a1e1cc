"""Noticing that a rank hangs, from the small file in which each rank says where it is."""

import os
import signal
import statistics
import time
from collections import deque
from dataclasses import dataclass, field

import structlog

from nvae_core.run_directory import Phase, RankState, RunDirectory
from services.adapters.processes import find_marked

STEPS_REMEMBERED = 101
STEP_FACTOR = 10.0
WRITE_STACKS_SECONDS = 1.0

log = structlog.get_logger()


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
