"""Parts of a batch that a CPU can keep in its cache."""

from collections.abc import Iterator

import torch
from torch import Tensor

CACHED_BYTES = 2**20  # of the widest layer
MIN_PIXELS = 1024  # so that what is done once for a part, to its weights, costs little


def split_for_cache(x: Tensor, y: Tensor, *, num_channels: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield parts of x and y, both (B, ...), for a layer of (B, H', W', num_channels) between.

    Its resolution is that of the larger of both; other devices than a CPU take all at once.
    """
    num_pixels = max(x.shape[1] * x.shape[2], y.shape[1] * y.shape[2])
    num_fitting = len(x)
    if x.device.type == "cpu":
        num_fitting = max(
            1, CACHED_BYTES // (4 * num_pixels * num_channels), MIN_PIXELS // num_pixels
        )
    return zip(torch.split(x, num_fitting), torch.split(y, num_fitting), strict=True)
