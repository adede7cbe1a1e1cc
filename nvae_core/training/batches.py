"""What each training step works on: images and noise, functions of seed, rank and step alone."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nvae_core.config import ModelConfig, TrainConfig
from nvae_core.data.dataset import Images, PreparedSplit, check_fits, open_prepared
from nvae_core.data.order import DataOrder, order_for_training
from nvae_core.data.preprocess import to_model_input
from nvae_core.distributed import Ranks
from nvae_core.model.nvae import NVAE
from nvae_core.run_directory import RunDirectory
from nvae_core.seeding import Stream, draw_noise, seeded_generator

Indices = npt.NDArray[np.int64]
MAX_RESIDENT_SHARE = 0.2  # of a GPU's free memory, that the bytes of all images may take


@dataclass(frozen=True)
class TrainingBatches:
    """This rank's part of the training images, in their order."""

    split: PreparedSplit
    order: DataOrder
    ranks: Ranks
    seed: int
    model: ModelConfig
    flip: bool
    levels: "ImageLevels"

    def images(self, step: int) -> Tensor:
        """Return this rank's padded images of one step, (B, C, R, R) in [0, 1]."""
        levels = self.levels.take(step, self._indices(step))
        self.levels.prefetch(step + 1, self._indices(step + 1))
        generator = self._generator(Stream.PIXELS, step)
        return to_model_input(levels, self.model, generator, flip=self.flip)

    def noise(self, step: int, model: NVAE) -> tuple[Tensor, ...]:
        """Return the noise of each latent group; it differs between ranks."""
        batch_size = self.order.global_batch_size // self.ranks.world_size
        return draw_noise(model.noise_shapes(batch_size), self._generator(Stream.LATENTS, step))

    def _indices(self, step: int) -> Indices:
        return self.order.batch(step, rank=self.ranks.rank, world_size=self.ranks.world_size)

    def _generator(self, stream: Stream, step: int) -> torch.Generator:
        return seeded_generator(self.ranks.device, stream, self.seed, self.ranks.rank, step)


class ImageLevels:
    """The bytes of images on their way to the device.

    On a GPU all of them stay there if they take a small part of its memory. Otherwise a thread
    reads those of the next step into pinned memory, from where they are copied while the GPU
    works.
    """

    def __init__(self, images: Images, device: torch.device) -> None:
        self._images = images
        self._device = device
        self._resident: Tensor | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._next: tuple[int, Future[Tensor]] | None = None
        if device.type != "cuda":
            return
        free, _ = torch.cuda.mem_get_info(device)
        if images.nbytes <= MAX_RESIDENT_SHARE * free:
            self._resident = torch.from_numpy(np.array(images)).to(device)
        else:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="images")

    def take(self, step: int, indices: Indices) -> Tensor:
        """Return images by their indices, (B, H, W, C) on the device."""
        if self._resident is not None:
            chosen = torch.from_numpy(indices).pin_memory().to(self._device, non_blocking=True)
            return self._resident[chosen]
        if self._next is not None and self._next[0] == step:
            levels = self._next[1].result()
        else:
            levels = self._read(indices)
        return levels.to(self._device, non_blocking=True)

    def prefetch(self, step: int, indices: Indices) -> None:
        """Begin to read the images of a step."""
        if self._thread is not None:
            self._next = step, self._thread.submit(self._read, indices)

    def _read(self, indices: Indices) -> Tensor:
        levels = torch.from_numpy(self._images[indices])
        return levels.pin_memory() if self._device.type == "cuda" else levels


def open_batches(config: TrainConfig, run: RunDirectory, ranks: Ranks) -> TrainingBatches:
    """Open the training split of a run; of each node one rank checks its hash.

    Raises:
        InvalidDataset: it is missing, damaged, too small, or does not fit the model.
    """
    split = open_prepared(run.path / config.dataset, "train", verify=ranks.is_first_of_node)
    check_fits(split.manifest, config.model)
    order = order_for_training(
        len(split.images),
        batch_size=config.optimization.batch_size,
        world_size=ranks.world_size,
        seed=config.seed,
    )
    return TrainingBatches(
        split=split,
        order=order,
        ranks=ranks,
        seed=config.seed,
        model=config.model,
        flip=config.optimization.horizontal_flip,
        levels=ImageLevels(split.images, ranks.device),
    )
