"""Which images each step sees."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nvae_core.data.errors import InvalidDataset
from nvae_core.seeding import Stream, derive_seed


@dataclass(frozen=True)
class DataOrder:
    """The sequence of images of a run: a permutation per epoch, the incomplete batch dropped.

    The sequence depends on the seed and the global batch size alone; ranks cut it up.
    """

    num_images: int
    global_batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Number of complete global batches in one epoch."""
        return self.num_images // self.global_batch_size

    def global_batch(self, step: int) -> npt.NDArray[np.int64]:
        """Return the indices of the images of one step, of all ranks."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.global_batch_size
        order = _permute(self.num_images, self.seed, epoch)
        return order[start : start + self.global_batch_size]

    def batch(self, step: int, *, rank: int, world_size: int) -> npt.NDArray[np.int64]:
        """Return this rank's part of the global batch."""
        size = self.global_batch_size // world_size
        return self.global_batch(step)[rank * size : (rank + 1) * size]


@lru_cache(maxsize=1)
def _permute(num_images: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    generator = np.random.default_rng(derive_seed(Stream.DATA_ORDER, seed, epoch))
    return generator.permutation(num_images)


def order_for_training(
    num_images: int, *, batch_size: int, world_size: int, seed: int
) -> DataOrder:
    """Return the order of the training images.

    Raises:
        InvalidDataset: there are fewer images than one step needs.
    """
    global_batch_size = batch_size * world_size
    if num_images < global_batch_size:
        raise InvalidDataset(
            f"optimization.batch_size: one step needs {batch_size} images on each of {world_size} "
            f"ranks, {global_batch_size} together, but the train split has {num_images}"
        )
    return DataOrder(num_images, global_batch_size, seed)
