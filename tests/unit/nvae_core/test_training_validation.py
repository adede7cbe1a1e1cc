from pathlib import Path

import pytest
import torch

from nvae_core.config import TrainConfig, ValidationPolicy
from nvae_core.distributed import Ranks
from nvae_core.run_directory import RankFile, RunDirectory
from nvae_core.training.reporter import PhaseClock
from nvae_core.training.state import start_training
from nvae_core.training.validation import Validation

NUM_TEST_IMAGES = 10


def measure(
    run: RunDirectory, config: TrainConfig, *, rank: int = 0, world_size: int = 1, **update: int
) -> dict[str, float]:
    policy = ValidationPolicy(every_steps=1, **update)
    ranks = Ranks(rank=rank, world_size=world_size, device=torch.device("cpu"))
    clock = PhaseClock(RankFile(run.rank_path(rank)), ranks.device)
    config = config.model_copy(update={"validation": policy})
    state = start_training(config.model, config.optimization, seed=0, device=ranks.device)
    state.model.train()
    values = Validation(run, config, ranks, clock).measure_when_due(state)
    assert state.model.training
    return values


def test_every_image_counts_once_whatever_the_number_of_ranks(
    run: RunDirectory, train_config: TrainConfig
) -> None:
    whole = measure(run, train_config)
    # Ranks 0 to 2 of three, that did not join: each returns the mean of its own part.
    parts = [measure(run, train_config, rank=rank, world_size=3) for rank in range(3)]
    together = sum(
        part["validation/negative_elbo"] * num_images
        for part, num_images in zip(parts, (4, 3, 3), strict=True)
    )
    assert whole["validation/negative_elbo"] == pytest.approx(together / NUM_TEST_IMAGES, rel=1e-5)


def test_estimate_does_not_depend_on_the_batch_size(
    run: RunDirectory, train_config: TrainConfig
) -> None:
    smaller = train_config.optimization.model_copy(update={"batch_size": 3})
    in_threes = measure(run, train_config.model_copy(update={"optimization": smaller}))
    assert in_threes == pytest.approx(measure(run, train_config), rel=1e-5)


def test_number_of_images_is_bounded(run: RunDirectory, train_config: TrainConfig) -> None:
    first = measure(run, train_config, num_images=1)
    assert (
        first["validation/negative_elbo"] != measure(run, train_config)["validation/negative_elbo"]
    )
    assert first == measure(run, train_config, num_images=1)


def test_nothing_is_measured_at_other_steps(
    tmp_path: Path, run: RunDirectory, train_config: TrainConfig
) -> None:
    config = train_config.model_copy(update={"validation": ValidationPolicy(every_steps=2)})
    ranks = Ranks(rank=0, world_size=1, device=torch.device("cpu"))
    state = start_training(config.model, config.optimization, seed=0, device=ranks.device)
    state.step = 3
    clock = PhaseClock(RankFile(run.rank_path(0)), ranks.device)
    assert Validation(run, config, ranks, clock).measure_when_due(state) == {}
