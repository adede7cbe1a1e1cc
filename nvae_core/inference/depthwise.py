"""The middle of an inverted residual, and of a flow: what is done to each channel on its own."""

import torch
from torch import Tensor

from nvae_core.inference.activations import InPlaceActivation, activate_
from nvae_core.inference.convolutions import Convolution
from nvae_core.kernels import normalized_depthwise as kernels
from nvae_core.model.convolutions import Conv2d

Bias = Tensor | None
ACTIVATIONS: dict[kernels.Middle, tuple[InPlaceActivation, InPlaceActivation]] = {
    "cell": ("swish", "swish"),
    "transform": ("elu", "elu_twice"),
}


class ActivatedDepthwise:
    """Bias, activation, upsampling, depthwise or grouped convolution, bias, activation."""

    def __init__(
        self,
        conv: Conv2d,
        weight: Tensor,
        *,
        biases: tuple[Bias, Bias],
        middle: kernels.Middle,
        upsample: bool = False,
    ) -> None:
        before, after = biases
        self.before = before
        self.convolution = Convolution(conv, weight, after)
        self.activations = ACTIVATIONS[middle]
        self.upsample = upsample
        self._stride = conv.stride[0]
        self._weight = weight.contiguous()
        self._settings = kernels.Settings(middle, epsilon=0.0, upsampling=2 if upsample else 1)
        self._norms = (_as_norm(before, conv.in_channels), _as_norm(after, conv.out_channels))

    def resize(self, size: int) -> int:
        """Return the height or width of the output."""
        return 2 * size if self.upsample else -(-size // self._stride)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H', W', C); x may be overwritten."""
        given = x.permute(0, 3, 1, 2)
        if kernels.fits(given, self._weight, self._stride):
            before, after = self._norms
            y = kernels.forward_normalized(given, before, self._weight, after, self._settings)
            return y.permute(0, 2, 3, 1)
        if self.before is not None:
            x = x.add_(self.before)
        x = activate_(x, self.activations[0])
        if self.upsample:
            x = upsample(x)
        return activate_(self.convolution(x), self.activations[1])


def upsample(x: Tensor) -> Tensor:
    """Double the resolution of (B, H, W, C) by copies of each pixel."""
    return x.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)


def _as_norm(bias: Bias, num_channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return weight, bias, mean and variance of a batch norm that adds the bias."""
    ones, zeros = torch.ones(num_channels), torch.zeros(num_channels)
    return ones, zeros if bias is None else bias, zeros, ones
