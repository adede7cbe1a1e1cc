"""Batch norm with statistics over the batches of all ranks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.distributed import world_size
from nvae_core.model.synchronized import synchronized_batch_norm

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.05


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
