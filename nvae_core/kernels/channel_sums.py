"""Sums over the pixels of each image and channel, by a kernel of ours."""

import torch
from torch import Tensor

from nvae_core.kernels.library import library


def channel_sums(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Return the sums (B, C) of a, or of a times b; both are (B, C, H, W) and `library.fits`."""
    batch_size, channels, height, width = a.shape
    sums = torch.empty(batch_size, channels)
    library().channel_sums(
        *(a.data_ptr(), None if b is None else b.data_ptr(), sums.data_ptr()),
        *(batch_size, height * width, channels),
    )
    return sums
