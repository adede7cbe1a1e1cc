"""Draw a grid of samples from a checkpoint: `python -m nvae_core.cli.sample RUN_DIRECTORY`."""

import sys
import time

from nvae_core.cli.running import run_program
from nvae_core.config import SampleConfig
from nvae_core.distributed import choose_device
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.model.nvae import count_parameters
from nvae_core.run_directory import Result, RunDirectory, StartedLine
from nvae_core.sampling import draw_images, re_estimate_batch_norm, report_grid
from nvae_core.training.checkpoint import load_model

GRID_NAME = "grid.png"


def main() -> int:
    """Run the program."""
    return run_program(SampleConfig, _sample)


def _sample(config: SampleConfig, run: RunDirectory) -> Result:
    device = choose_device()
    model, manifest = load_model(run.path / config.checkpoint, device)
    run.append(
        StartedLine(
            at=time.time(), num_steps=config.num_images, num_parameters=count_parameters(model)
        )
    )
    if config.batch_norm == "re-estimate":
        others = seeded_generator(device, Stream.BATCH_NORM, config.seed)
        re_estimate_batch_norm(model, temperature=config.temperature, generator=others)
    # Of the same seed in both settings, so that their grids can be compared (Fig. 7).
    generator = seeded_generator(device, Stream.LATENTS, config.seed)
    images = draw_images(
        model, config.num_images, temperature=config.temperature, generator=generator
    )
    report_grid(run, GRID_NAME, images, step=manifest.step)
    return Result(status="succeeded", step=manifest.step, values={"num_images": config.num_images})


if __name__ == "__main__":
    sys.exit(main())
