"""What is computed in float32 whatever the network computes in."""

import torch
from torch import Tensor, nn


def in_own_precision(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution in the precision of its weight, not in that of autocast.

    Parameters of a distribution need it: bf16 has 8 bits, as many as a pixel.
    """
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = convolution(x.to(convolution.weight.dtype))
    return y
