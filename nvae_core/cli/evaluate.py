"""Measure a checkpoint on a split: `python -m nvae_core.cli.evaluate RUN_DIRECTORY`."""

import sys
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from nvae_core.checkpoint import load_model
from nvae_core.cli.running import run_program
from nvae_core.config import EvaluateConfig, ModelConfig
from nvae_core.data.loader import check_fits
from nvae_core.data.pixels import to_model_input
from nvae_core.data.prepared import PreparedSplit, open_prepared
from nvae_core.distributed import choose_device
from nvae_core.evaluation.likelihood import (
    EvaluationStopped,
    RunningLikelihood,
    estimate_likelihood,
)
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.model.nvae import count_parameters
from nvae_core.run_directory import ExitReason, MetricsLine, Result, RunDirectory, StartedLine
from nvae_core.training.shutdown import StopSignal


def main() -> int:
    """Run the program."""
    return run_program(EvaluateConfig, _evaluate)


def _evaluate(config: EvaluateConfig, run: RunDirectory) -> Result:
    stop = StopSignal(run)
    stop.listen()
    device = choose_device()
    model, _ = load_model(run.path / config.checkpoint, device)
    split = open_prepared(run.path / config.dataset, config.split)
    check_fits(split.manifest, model.config)
    num_images = len(split.images)
    run.append(
        StartedLine(at=time.time(), num_steps=num_images, num_parameters=count_parameters(model))
    )
    running: RunningLikelihood | None = None
    try:
        for running in estimate_likelihood(
            model,
            _batches(split, config, model.config, device),
            num_samples=config.importance_samples,
            generator=seeded_generator(device, Stream.LATENTS, config.seed),
            should_stop=stop.is_set,
        ):
            run.append(
                MetricsLine(at=time.time(), step=running.num_images, values=running.values())
            )
    except EvaluationStopped:
        return _result(running, ExitReason.STOPPED)
    return _result(running, None)


def _result(running: RunningLikelihood | None, reason: ExitReason | None) -> Result:
    return Result(
        status="stopped" if reason else "succeeded",
        reason=reason,
        step=running.num_images if running else 0,
        values={**running.values()} if running else {},
    )


def _batches(
    split: PreparedSplit, config: EvaluateConfig, model: ModelConfig, device: torch.device
) -> Iterator[Tensor]:
    # One generator for the whole split, on the CPU: the binarization is the same in every
    # evaluation, whatever the batch size and the device.
    generator = seeded_generator(torch.device("cpu"), Stream.PIXELS, config.seed)
    for start in range(0, len(split.images), config.batch_size):
        images = split.images[start : start + config.batch_size]
        yield to_model_input(images, model, generator).to(device)


if __name__ == "__main__":
    sys.exit(main())
