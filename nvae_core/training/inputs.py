"""What each training step works on: images and noise, functions of seed, rank and step alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nvae_core.config import ModelConfig, TrainConfig
from nvae_core.data.loader import DataOrder, check_fits, order_for_training
from nvae_core.data.pixels import to_model_input
from nvae_core.data.prepared import PreparedSplit, open_prepared
from nvae_core.distributed import Ranks
from nvae_core.model.noise import Stream, draw_noise, seeded_generator
from nvae_core.model.nvae import NVAE
from nvae_core.run_directory import RunDirectory


@dataclass(frozen=True)
class TrainingInputs:
    """This rank's part of the training images, in their order."""

    split: PreparedSplit
    order: DataOrder
    ranks: Ranks
    seed: int
    model: ModelConfig
    flip: bool

    def images(self, step: int) -> Tensor:
        """Return this rank's padded images of one step, (B, C, R, R) in [0, 1]."""
        indices = self.order.batch(step, rank=self.ranks.rank, world_size=self.ranks.world_size)
        generator = self._generator(Stream.PIXELS, step)
        images = self.split.images[indices]
        return to_model_input(images, self.model, generator, flip=self.flip)

    def noise(self, step: int, model: NVAE) -> tuple[Tensor, ...]:
        """Return the noise of each latent group; it differs between ranks."""
        batch_size = self.order.global_batch_size // self.ranks.world_size
        return draw_noise(model.noise_shapes(batch_size), self._generator(Stream.LATENTS, step))

    def _generator(self, stream: Stream, step: int) -> torch.Generator:
        return seeded_generator(self.ranks.device, stream, self.seed, self.ranks.rank, step)


def open_inputs(config: TrainConfig, run: RunDirectory, ranks: Ranks) -> TrainingInputs:
    """Open the training split of a run.

    Raises:
        InvalidDataset: it is missing, damaged, too small, or does not fit the model.
    """
    split = open_prepared(run.path / config.dataset, "train")
    check_fits(split.manifest, config.model)
    order = order_for_training(
        len(split.images),
        batch_size=config.optimization.batch_size,
        world_size=ranks.world_size,
        seed=config.seed,
    )
    return TrainingInputs(
        split, order, ranks, config.seed, config.model, config.optimization.horizontal_flip
    )
