"""Likelihood under mixtures of discretized logistics by a kernel of ours, in one pass."""

import torch
from torch import Tensor

from nvae_core.kernels.library import is_usable, library


def fits(parameters: Tensor, x: Tensor) -> bool:
    """Whether the kernel can work on parameters (N, H, W, P) and images (B, C, H, W)."""
    return (
        is_usable(parameters)
        and x.dtype == parameters.dtype
        and parameters.is_contiguous()
        and x.shape[1] in (1, 3)
    )


def log_prob(parameters: Tensor, x: Tensor, *, num_components: int, bit_depth: int) -> Tensor:
    """Return log p(x) of each sample and image, (S, B), for parameters (S B, H, W, P)."""
    batch_size, num_colors, height, width = x.shape
    x = x.contiguous()
    found = torch.empty(len(parameters) // batch_size, batch_size)
    library().logistic_mixture_log_prob(
        *(parameters.data_ptr(), x.data_ptr(), found.data_ptr(), *found.shape),
        *(height * width, num_components, num_colors, float(2**bit_depth - 1)),
    )
    return found
