"""The middle of an inverted residual, and of a flow: what is done to each channel on its own."""

import torch
from torch import Tensor

from nvae_core.inference.activations import InPlaceActivation, activate_
from nvae_core.inference.convolutions import Affine, Convolution
from nvae_core.kernels import normalized_depthwise as kernels
from nvae_core.model.convolutions import Conv2d

ACTIVATIONS: dict[kernels.Middle, tuple[InPlaceActivation, InPlaceActivation]] = {
    "cell": ("swish", "swish"),
    "transform": ("elu", "elu_twice"),
}


class ActivatedDepthwise:
    """Scale and shift, activation, upsampling, depthwise or grouped convolution, activation."""

    def __init__(
        self,
        conv: Conv2d,
        weight: Tensor,
        *,
        middle: kernels.Middle,
        before: Affine | None = None,
        bias: Tensor | None = None,
        upsample: bool = False,
    ) -> None:
        self.before = before
        self.convolution = Convolution(conv, weight, bias)
        self.activations = ACTIVATIONS[middle]
        self.upsample = upsample
        self._stride = conv.stride[0]
        self._weight = weight.contiguous()
        self._settings = kernels.Settings(middle, epsilon=0.0, upsampling=2 if upsample else 1)
        zeros, ones = (torch.full((conv.in_channels,), value) for value in (0.0, 1.0))
        scale, shift = (ones, zeros) if before is None else (before.scale, before.shift)
        # As parameters of batch norms, of mean 0 and variance 1.
        self._before = (scale, shift, zeros, ones)
        self._after = (ones, zeros if bias is None else bias, zeros, ones)

    def resize(self, size: int) -> int:
        """Return the height or width of the output."""
        return 2 * size if self.upsample else -(-size // self._stride)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H', W', C)."""
        given = x.permute(0, 3, 1, 2)
        if kernels.fits(given, self._weight, self._stride):
            y = kernels.forward_normalized(
                given, self._before, self._weight, self._after, self._settings
            )
            return y.permute(0, 2, 3, 1)
        if self.before is not None:
            x = torch.addcmul(self.before.shift, x, self.before.scale)
        x = activate_(x, self.activations[0])
        if self.upsample:
            x = upsample(x)
        return activate_(self.convolution(x), self.activations[1])


def upsample(x: Tensor) -> Tensor:
    """Double the resolution of (B, H, W, C) by copies of each pixel."""
    return x.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
