"""Sample grids during training; they change nothing that training depends on."""

import time

from nvae_core.config import TrainConfig
from nvae_core.distributed import Ranks
from nvae_core.model.decoder import Decoder
from nvae_core.model.fuse import fuse
from nvae_core.run_directory import NoticeLine, Phase, RunDirectory, is_disk_full
from nvae_core.sampling.draw import draw_images
from nvae_core.sampling.grids import report_grid
from nvae_core.seeding import Stream, seeded_generator
from nvae_core.training.reporter import PhaseClock
from nvae_core.training.state import TrainingState, evaluating

NUM_SAMPLES = 64


class SampleGrids:
    """Draws on rank 0; on the others it does nothing."""

    def __init__(
        self, run: RunDirectory, config: TrainConfig, ranks: Ranks, clock: PhaseClock
    ) -> None:
        self._run = run
        self._config = config
        self._ranks = ranks
        self._clock = clock
        self._drawn_step: int | None = None

    def draw_when_due(self, state: TrainingState) -> None:
        """Draw if the policy asks for it after this step."""
        every_steps = self._config.samples.every_steps
        if every_steps and state.step % every_steps == 0:
            self.draw(state)

    def draw(self, state: TrainingState) -> None:
        """Draw one grid of samples for each temperature, unless there are those of this step."""
        if not self._ranks.is_first or self._drawn_step == state.step:
            return
        self._drawn_step = state.step
        try:
            with evaluating(state):
                decoder = fuse(state.model.decoder)
                for temperature in self._config.samples.temperatures:
                    self._clock.enter(Phase.SAMPLE, state.step)
                    self._draw_grid(decoder, state.step, temperature)
        except OSError as error:
            if not is_disk_full(error):
                raise
            message = "there was no room on the disk for samples; training goes on"
            self._run.append(
                NoticeLine(at=time.time(), name="disk_full", message=message, step=state.step)
            )

    def _draw_grid(self, decoder: Decoder, step: int, temperature: float) -> None:
        # The same noise each time, so that grids of different steps can be compared.
        generator = seeded_generator(self._ranks.device, Stream.LATENTS, self._config.seed)
        images = draw_images(decoder, NUM_SAMPLES, temperature=temperature, generator=generator)
        name = f"step_{step:08d}_temperature_{temperature:g}.png"
        report_grid(self._run, name, images, step=step)
