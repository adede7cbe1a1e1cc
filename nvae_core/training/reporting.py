"""What training tells the world while it runs: progress lines and TensorBoard scalars of rank 0."""

import math
import time
from collections.abc import Sequence

from nvae_core.config import TrainConfig
from nvae_core.model.nvae import count_parameters
from nvae_core.run_directory import MetricsLine, NoticeLine, RunDirectory, StartedLine
from nvae_core.runtime.program import describe_device
from nvae_core.training.inputs import TrainingInputs
from nvae_core.training.phase_clock import PhaseClock
from nvae_core.training.rank_metrics import gather_rank_metrics
from nvae_core.training.schedules import StepWeights
from nvae_core.training.state import TrainingState
from nvae_core.training.tensorboard import EventFile

IN_BITS_PER_DIM = {
    "negative_elbo": "bits_per_dim",
    "reconstruction_loss": "reconstruction_bits_per_dim",
    "kl": "kl_bits_per_dim",
}


class Reporter:
    """Writes to the run directory on rank 0; on the others it only joins the collectives."""

    def __init__(
        self, run: RunDirectory, config: TrainConfig, inputs: TrainingInputs, clock: PhaseClock
    ) -> None:
        self._run = run
        self._config = config
        self._ranks = inputs.ranks
        self._global_batch_size = inputs.order.global_batch_size
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

    def step_taken(self, state: TrainingState, weights: StepWeights, *, is_last: bool) -> None:
        """Report the means since the last report when it is time to, and at the end."""
        if state.step % self._config.report_every_steps != 0 and not is_last:
            return
        tally = state.measured.take_tally()
        means = tally.means()
        rank_metrics = gather_rank_metrics(
            self._clock.take_window(), self._ranks, global_batch_size=self._global_batch_size
        )
        self.measured(
            state.step,
            {
                **means,
                **in_bits_per_dim(means, self._config.model.num_dimensions),
                "kl_weight": weights.kl_weight,
                "spectral_weight": weights.spectral_weight,
                "learning_rate": weights.learning_rate,
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
