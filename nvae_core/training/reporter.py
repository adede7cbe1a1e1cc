"""What training tells while it runs: progress, TensorBoard scalars, and where time goes."""

import math
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nvae_core.config import TrainConfig
from nvae_core.distributed import Ranks, sum_over_ranks
from nvae_core.model.nvae import count_parameters
from nvae_core.run_directory import (
    MetricsLine,
    NoticeLine,
    Phase,
    RankFile,
    RunDirectory,
    StartedLine,
)
from nvae_core.runtime.program import describe_device
from nvae_core.training.batches import TrainingBatches
from nvae_core.training.schedules import Schedule
from nvae_core.training.state import TrainingState
from nvae_core.training.tensorboard import EventFile

IN_BITS_PER_DIM = {
    "negative_elbo": "bits_per_dim",
    "reconstruction_loss": "reconstruction_bits_per_dim",
    "kl": "kl_bits_per_dim",
}


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


class Reporter:
    """Writes to the run directory on rank 0; on the others it only joins the collectives."""

    def __init__(
        self, run: RunDirectory, config: TrainConfig, batches: TrainingBatches, clock: PhaseClock
    ) -> None:
        self._run = run
        self._config = config
        self._ranks = batches.ranks
        self._global_batch_size = batches.order.global_batch_size
        self._clock = clock
        self._events: EventFile | None = None
        if self._ranks.is_first:
            self._events = EventFile(run.tensorboard, at=time.time())

    def started(self, state: TrainingState, num_steps: int, changes: Sequence[str]) -> None:
        """Say what the run is going to do, and what changed since the checkpoint it resumes."""
        self._clock.take_window()  # only training counts
        if not self._ranks.is_first:
            return
        at = time.time()
        self._run.append(
            StartedLine(
                at=at,
                num_steps=num_steps,
                first_step=state.step,
                num_parameters=count_parameters(state.model),
                **describe_device(self._ranks.device),
            )
        )
        if changes:
            self._run.append(
                NoticeLine(
                    at=at,
                    name="resumed_with_changes",
                    message="; ".join(changes),
                    step=state.step,
                )
            )

    def step_taken(self, state: TrainingState, schedule: Schedule, *, is_last: bool) -> None:
        """Report the means since the last report when it is time to, and at the end."""
        if state.step % self._config.report_every_steps != 0 and not is_last:
            return
        tally = state.metrics.take_tally()
        means = tally.means()
        rank_metrics = gather_rank_metrics(
            self._clock.take_window(), self._ranks, global_batch_size=self._global_batch_size
        )
        self.measured(
            state.step,
            {
                **means,
                **in_bits_per_dim(means, self._config.model.num_dimensions),
                "kl_weight": schedule.kl_weight,
                "spectral_weight": schedule.spectral_weight,
                "learning_rate": schedule.learning_rate,
                "skipped_steps": float(tally.num_steps - tally.num_taken_steps),
                **rank_metrics,
            },
        )

    def measured(self, step: int, values: dict[str, float]) -> None:
        """Report values of one step, if there are any."""
        at = time.time()
        if values and self._events is not None:
            self._run.append(MetricsLine(at=at, step=step, values=values))
            self._events.add_scalars(values, step=step, at=at)


def in_bits_per_dim(values: dict[str, float], num_dimensions: int) -> dict[str, float]:
    """Return those values that are nats per image in bits per dimension, under other names."""
    return {
        name: values[in_nats] / (math.log(2) * num_dimensions)
        for in_nats, name in IN_BITS_PER_DIM.items()
        if in_nats in values
    }


def gather_rank_metrics(
    window: Window, ranks: Ranks, *, global_batch_size: int
) -> dict[str, float]:
    """Return speed, memory, and what slows training down; a collective of all ranks."""
    num_steps = max(window.num_steps, 1)
    total_seconds = max(window.total_seconds, 1e-9)
    own = [
        total_seconds,
        window.busy_seconds / num_steps,
        window.data_seconds / total_seconds,
        float(peak_memory_bytes(ranks.device)),
    ]
    table = torch.zeros(ranks.world_size, len(own), dtype=torch.float64, device=ranks.device)
    table[ranks.rank] = torch.tensor(own, dtype=torch.float64)
    seconds, busy, data_share, memory = sum_over_ranks(table).unbind(dim=1)
    return {
        "images_per_second": global_batch_size * window.num_steps / seconds.max().item(),
        "step_seconds/slowest_rank": busy.max().item(),
        "step_seconds/fastest_rank": busy.min().item(),
        "data_wait_share": data_share.max().item(),
        "peak_memory_bytes": memory.max().item(),
    }


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory this rank has used: of its GPU, or of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
