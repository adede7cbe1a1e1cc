"""Negative ELBO on images that are not trained on, measured by all ranks together."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nvae_core.config import TrainConfig
from nvae_core.data.dataset import PreparedSplit, SplitName, open_prepared
from nvae_core.data.preprocess import to_model_input
from nvae_core.distributed import Ranks, sum_over_ranks
from nvae_core.evaluation.likelihood import score_by
from nvae_core.model.fuse import fuse
from nvae_core.model.nvae import NVAE
from nvae_core.run_directory import Phase, RunDirectory
from nvae_core.seeding import Stream, draw_noise, seeded_generator
from nvae_core.training.reporter import PhaseClock
from nvae_core.training.state import TrainingState, evaluating

SPLIT: SplitName = "test"


class Validation:
    """Measures when the policy says so; each image counts once, whatever the number of ranks."""

    def __init__(
        self, run: RunDirectory, config: TrainConfig, ranks: Ranks, clock: PhaseClock
    ) -> None:
        self._config = config
        self._ranks = ranks
        self._clock = clock
        self._split: PreparedSplit | None = None
        if config.validation.every_steps:
            folder = run.path / config.dataset
            self._split = open_prepared(folder, SPLIT, verify=ranks.is_first_of_node)

    def measure_when_due(self, state: TrainingState) -> dict[str, float]:
        """Return the estimates if it is time for them, else nothing; a collective of all ranks."""
        if self._split is None or state.step % self._config.validation.every_steps != 0:
            return {}
        sums = torch.zeros(3, dtype=torch.float64, device=self._ranks.device)
        with evaluating(state):
            for part in self._score(state, self._split):
                sums += part
        num_images, negative_elbo, kl = sum_over_ranks(sums).tolist()
        nats_per_bit = math.log(2) * self._config.model.num_dimensions
        return {
            "validation/negative_elbo": negative_elbo / num_images,
            "validation/bits_per_dim": negative_elbo / num_images / nats_per_bit,
            "validation/kl": kl / num_images,
        }

    @torch.no_grad()
    def _score(self, state: TrainingState, split: PreparedSplit) -> Iterator[Tensor]:
        """Yield number, negative ELBO and KL of each batch of this rank's part, as sums."""
        num_images = min(self._config.validation.num_images, len(split.images))
        own = range(self._ranks.rank, num_images, self._ranks.world_size)
        batch_size = self._config.optimization.batch_size
        model_now = fuse(state.model)
        for start in range(0, len(own), batch_size):
            self._clock.enter(Phase.EVALUATE, state.step)
            x, noise = self._batch(split, state.model, own[start : start + batch_size])
            part = score_by(model_now, x, [noise])
            yield torch.stack(
                [
                    torch.tensor(float(len(x)), dtype=torch.float64, device=x.device),
                    part.negative_elbo.sum(),
                    part.kl_per_group.sum(),
                ]
            )

    def _batch(
        self, split: PreparedSplit, model: NVAE, indices: Sequence[int]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        # One generator for each image: its pixels and noise are the same each time, whatever the
        # batch and the rank.
        device = self._ranks.device
        images: list[Tensor] = []
        noise: list[tuple[Tensor, ...]] = []
        for index in indices:
            generator = seeded_generator(device, Stream.VALIDATION, self._config.seed, index)
            images.append(to_model_input(split.images[[index]], model.config, generator))
            noise.append(draw_noise(model.noise_shapes(1), generator))
        per_group = zip(*noise, strict=True)
        return torch.cat(images), tuple(torch.cat(group) for group in per_group)
