"""What training tells the world: progress lines, checkpoints and sample grids of rank 0."""

import time
from dataclasses import dataclass, field

import torch

from nvae_core.config import TrainConfig
from nvae_core.distributed import Ranks
from nvae_core.evaluation.likelihood import name_groups
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.model.nvae import count_parameters
from nvae_core.run_directory import (
    CheckpointLine,
    MetricsLine,
    RunDirectory,
    StartedLine,
)
from nvae_core.sampling import draw_images, report_grid
from nvae_core.training.checkpoint import drop_old_checkpoints, save_checkpoint
from nvae_core.training.outcome import StepOutcome
from nvae_core.training.schedules import StepWeights
from nvae_core.training.state import TrainingState

NUM_SAMPLES = 64
ACTIVE_CHANNEL_KL = 0.1  # nats, above which a latent channel counts as active (Fig. 10)


@dataclass
class Tally:
    """Means over the steps since they were last taken; steps that were skipped do not count."""

    sums: dict[str, float] = field(default_factory=dict)
    kl_per_channel: torch.Tensor | None = None  # sum over the steps, (G, Z) nats
    num_steps: int = 0
    num_taken_steps: int = 0
    since: float = field(default_factory=time.perf_counter)

    def add(self, outcome: StepOutcome) -> None:
        """Count one step in."""
        self.num_steps += 1
        if not outcome.was_taken:
            return
        self.num_taken_steps += 1
        for name, value in outcome.values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        kl = outcome.kl_per_channel
        self.kl_per_channel = kl if self.kl_per_channel is None else self.kl_per_channel + kl

    def means(self) -> dict[str, float]:
        """Return the means by name, and how many latent channels are active by them."""
        if self.kl_per_channel is None:
            return {}
        kl = self.kl_per_channel / self.num_taken_steps
        active = (kl > ACTIVE_CHANNEL_KL).sum(dim=1)
        return {
            **{name: value / self.num_taken_steps for name, value in self.sums.items()},
            **name_groups("kl", kl.sum(dim=1)),
            **name_groups("active_channels", active),
            "active_channels": float(active.sum()),
        }

    def steps_per_second(self) -> float:
        """Return the rate of all steps, finite or not."""
        return self.num_steps / max(time.perf_counter() - self.since, 1e-9)


class Reporter:
    """Writes to the run directory on rank 0; on the others it does nothing."""

    def __init__(self, run: RunDirectory, config: TrainConfig, ranks: Ranks) -> None:
        self._run = run
        self._config = config
        self._ranks = ranks
        self._tally = Tally()
        self._saved_step: int | None = None
        self._drawn_step: int | None = None

    def started(self, state: TrainingState, num_steps: int) -> None:
        """Say what the run is going to do."""
        if self._ranks.is_first:
            self._run.append(
                StartedLine(
                    at=time.time(),
                    num_steps=num_steps,
                    first_step=state.step,
                    num_parameters=count_parameters(state.model),
                )
            )

    def step_taken(
        self, step: int, outcome: StepOutcome, weights: StepWeights, *, is_last: bool
    ) -> None:
        """Count one step in, and report the means when it is time to, and at the end."""
        self._tally.add(outcome)
        if step % self._config.report_every_steps != 0 and not is_last:
            return
        global_batch_size = self._config.optimization.batch_size * self._ranks.world_size
        values = self._tally.means() | {
            "kl_weight": weights.kl_weight,
            "spectral_weight": weights.spectral_weight,
            "learning_rate": weights.learning_rate,
            "images_per_second": self._tally.steps_per_second() * global_batch_size,
            "skipped_steps": float(self._tally.num_steps - self._tally.num_taken_steps),
        }
        if self._ranks.is_first:
            self._run.append(MetricsLine(at=time.time(), step=step, values=values))
        self._tally = Tally()

    def save_when_due(self, state: TrainingState) -> None:
        """Save what the policies ask for after this step."""
        if state.step % self._config.checkpoint.every_steps == 0:
            self.save(state)
        every_steps = self._config.samples.every_steps
        if every_steps and state.step % every_steps == 0:
            self.draw(state)

    def save(self, state: TrainingState) -> None:
        """Save a checkpoint of this step, unless there is one."""
        if not self._ranks.is_first or self._saved_step == state.step:
            return
        path = save_checkpoint(
            self._run.checkpoints,
            state,
            optimization=self._config.optimization,
            seed=self._config.seed,
        )
        self._saved_step = state.step
        relative = str(path.relative_to(self._run.path))
        self._run.append(CheckpointLine(at=time.time(), step=state.step, path=relative))
        drop_old_checkpoints(self._run.checkpoints, keep_last=self._config.checkpoint.keep_last)

    def draw(self, state: TrainingState) -> None:
        """Draw one grid of samples for each temperature, unless there are those of this step."""
        if not self._ranks.is_first or self._drawn_step == state.step:
            return
        self._drawn_step = state.step
        for temperature in self._config.samples.temperatures:
            self._draw_grid(state, temperature)

    def _draw_grid(self, state: TrainingState, temperature: float) -> None:
        name = f"step_{state.step:08d}_temperature_{temperature:g}.png"
        device: torch.device = self._ranks.device
        # The same noise each time, so that grids of different steps can be compared.
        generator = seeded_generator(device, Stream.LATENTS, self._config.seed)
        state.model.eval()
        images = draw_images(state.model, NUM_SAMPLES, temperature=temperature, generator=generator)
        state.model.train()
        report_grid(self._run, name, images, step=state.step)
