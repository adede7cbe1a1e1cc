"""Layers: weight-normalized convolution, batch norm over all ranks, squeeze and excitation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.distributed import world_size
from nvae_core.model.synchronized import synchronized_batch_norm

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.05


class Conv2d(nn.Conv2d):
    """Convolution of `same` padding."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=(kernel_size - 1) // 2,
            groups=groups,
            bias=bias,
        )

    def effective_weight(self) -> Tensor:
        """Return the weight that the convolution applies, (Cout, Cin / groups, k, k)."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H / stride, W / stride)."""
        y: Tensor = self._conv_forward(x, self.effective_weight(), self.bias)
        return y


class WeightNormConv2d(Conv2d):
    """Convolution whose weight has a learned norm per output channel (weight normalization)."""

    held_weight: Tensor | None = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, bias=bias)
        self.log_weight_norm = nn.Parameter(torch.log(self._norm().detach() + 0.01))

    def effective_weight(self) -> Tensor:
        """Return the weight that is held, or compute it."""
        return self.normalize_weight() if self.held_weight is None else self.held_weight

    def normalize_weight(self) -> Tensor:
        """Return exp(l) v / (|v| + 1e-5), the norm taken per output channel."""
        scale = self.log_weight_norm.exp() / (self._norm() + 1e-5)
        return torch.mul(self.weight, scale)

    def _norm(self) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(self.weight, dim=(1, 2, 3), keepdim=True)
        return norm


@contextmanager
def hold_weights(model: nn.Module) -> Iterator[None]:
    """Normalize each weight once, for all uses until the end of the block."""
    convolutions = [module for module in model.modules() if isinstance(module, WeightNormConv2d)]
    for convolution in convolutions:
        convolution.held_weight = convolution.normalize_weight()
    try:
        yield
    finally:
        for convolution in convolutions:
            convolution.held_weight = None


class BatchNorm(nn.Module):
    """Batch norm with statistics over the batches of all ranks."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))

    def forward(self, x: Tensor, copies: int = 1) -> Tensor:
        """Normalize (B, C, H, W).

        `copies` says how many equal pixels each one stands for, where the nearest-neighbour
        upsampling that precedes this layer is done after it: the output is the same.
        """
        if not self.training:
            return F.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                eps=BATCH_NORM_EPSILON,
            )
        if world_size() == 1:
            y, mean, inverse_std = torch.native_batch_norm(
                x, self.weight, self.bias, None, None, True, 0.0, BATCH_NORM_EPSILON
            )
            variance = inverse_std.detach().pow(-2) - BATCH_NORM_EPSILON
        else:
            y, mean, variance = synchronized_batch_norm(
                x, self.weight, self.bias, BATCH_NORM_EPSILON
            )
        count = world_size() * copies * x.numel() // x.shape[1]
        self._update_statistics(mean.detach(), variance, count)
        return y

    def _update_statistics(self, mean: Tensor, variance: Tensor, count: int) -> None:
        unbiased = variance * (count / max(count - 1, 1))
        self.running_mean.lerp_(mean, BATCH_NORM_MOMENTUM)
        self.running_var.lerp_(unbiased, BATCH_NORM_MOMENTUM)


class SqueezeExcitation(nn.Module):
    """Gate per image and channel, computed from the means over space."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        num_hidden = max(num_channels // 16, 4)
        self.squeeze = nn.Linear(num_channels, num_hidden)
        self.excite = nn.Linear(num_hidden, num_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gates of (B, C, H, W): (B, C, 1, 1) in (0, 1)."""
        gates = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean(dim=(2, 3))))))
        return gates[:, :, None, None]
