"""Batch norm with statistics over the batches of several ranks, and the activation after it."""

import torch
from torch import Tensor, nn

from nvae_core.config import StatisticsScope
from nvae_core.distributed import world_size
from nvae_core.model.modules import modules_of
from nvae_core.model.normalization import Activation, Statistics, normalize, normalize_by

BATCH_NORM_MOMENTUM = 0.05


class BatchNorm(nn.Module):
    """Batch norm with statistics over the batches of the ranks in scope, then an activation."""

    scope: StatisticsScope = "all_ranks"
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int, activation: Activation = "identity") -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))

    def forward(self, x: Tensor, copies: int = 1) -> Tensor:
        """Normalize and activate (B, C, H, W).

        `copies` says how many equal pixels each one stands for, where the nearest-neighbour
        upsampling that precedes this layer is done after it: the output is the same.
        """
        if not self.training:
            return normalize_by(
                x,
                self.statistics(),
                self.weight,
                self.bias,
                activation=self.activation,
            )
        y, statistics = normalize(
            x, self.weight, self.bias, activation=self.activation, scope=self.scope
        )
        self.track(statistics, copies * x.numel() // x.shape[1])
        return y

    def statistics(self) -> Statistics:
        """Return the running statistics."""
        return Statistics(self.running_mean, self.running_var)

    def track(self, statistics: Statistics, num_pixels: int) -> None:
        """Let the running statistics follow those of one step, of so many pixels per rank."""
        count = world_size(self.scope) * num_pixels
        unbiased = statistics.variance * (count / max(count - 1, 1))
        self.running_mean.lerp_(statistics.mean, BATCH_NORM_MOMENTUM)
        self.running_var.lerp_(unbiased, BATCH_NORM_MOMENTUM)


def normalize_over(model: nn.Module, scope: StatisticsScope) -> None:
    """Let all batch norms of a model take their statistics over these ranks."""
    for norm in batch_norms_of(model):
        norm.scope = scope


def batch_norms_of(model: nn.Module) -> list[BatchNorm]:
    """Return the batch norms of a model, in the order of its modules."""
    return modules_of(model, BatchNorm)
