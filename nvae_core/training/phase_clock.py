"""Where this rank's time goes: the phase in its file, and seconds for the next report."""

import time
from dataclasses import dataclass

import torch

from nvae_core.run_directory import Phase, RankFile


@dataclass
class Window:
    """Seconds since the last report; not part of the training state."""

    num_steps: int = 0
    total_seconds: float = 0.0
    data_seconds: float = 0.0  # until the images and the noise of the steps were there
    busy_seconds: float = 0.0  # of data and steps, without waiting for other ranks on a CPU


class PhaseClock:
    """Says what this rank does, and adds up how long."""

    def __init__(self, rank_file: RankFile, device: torch.device) -> None:
        self._rank_file = rank_file
        # On a CPU, a rank that waits for the others computes nothing. On a GPU the wait is in
        # the queue of kernels, and only wall-clock time means anything.
        self._busy_clock = time.thread_time if device.type == "cpu" else time.perf_counter
        self._window = Window()
        self._began_at = time.perf_counter()
        self._busy_at = self._busy_clock()
        self._data_seconds = 0.0

    def enter(self, phase: Phase, step: int) -> None:
        """Say what this rank does from now on."""
        self._leave()
        self._rank_file.enter(phase, step)

    def step_taken(self, step: int) -> None:
        """Count a step in."""
        seconds = self._leave()
        self._window.num_steps += 1
        step_seconds = self._data_seconds + seconds
        self._rank_file.enter(Phase.STEP, step, step_seconds=step_seconds)

    def take_window(self) -> Window:
        """Return the seconds since this was last asked, and begin anew."""
        self._leave()
        window, self._window = self._window, Window()
        return window

    def _leave(self) -> float:
        now, busy_now = time.perf_counter(), self._busy_clock()
        seconds, busy_seconds = now - self._began_at, busy_now - self._busy_at
        self._began_at, self._busy_at = now, busy_now
        phase = self._rank_file.state.phase
        self._window.total_seconds += seconds
        if phase == Phase.DATA:
            self._window.data_seconds += seconds
            self._data_seconds = seconds
        if phase in {Phase.DATA, Phase.STEP}:
            self._window.busy_seconds += busy_seconds
        return seconds
