"""Penalties on the weights: spectral regularization (Eq. 10) and the batch-norm penalty."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nvae_core.kernels.library import fits
from nvae_core.kernels.power_iteration import iterate
from nvae_core.model.batch_norm import batch_norms_of
from nvae_core.model.convolutions import Conv2d
from nvae_core.model.modules import modules_of

ITERATIONS_PER_STEP = 4
FIRST_ITERATIONS = 40


class SpectralRegularizer(nn.Module):
    """Estimates the largest singular value of each convolution, by power iteration.

    The singular vectors are buffers that belong to the training state. Layers whose matrices
    have the same shape are iterated together.
    """

    def __init__(self, convolutions: Sequence[Conv2d], generator: torch.Generator) -> None:
        super().__init__()
        self.is_fresh = True  # not a tensor: to read one waits for the GPU
        for (rows, columns), layers in _group_by_shape(convolutions).items():
            left = torch.randn(len(layers), rows, generator=generator)
            right = torch.randn(len(layers), columns, generator=generator)
            self.register_buffer(f"left_{rows}x{columns}", _normalize(left))
            self.register_buffer(f"right_{rows}x{columns}", _normalize(right))

    def forward(self, convolutions: Sequence[Conv2d]) -> Tensor:
        """Return the sum of u W v over the layers, with gradient through the weights W only.

        In float32, whatever the network computes in.
        """
        with torch.autocast(convolutions[0].weight.device.type, enabled=False):
            return self._sum_of_norms(convolutions)

    def get_extra_state(self) -> Tensor:
        """Return what belongs to the training state and is no buffer."""
        return torch.tensor(self.is_fresh)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what `get_extra_state` returned."""
        self.is_fresh = bool(state.item())

    def _sum_of_norms(self, convolutions: Sequence[Conv2d]) -> Tensor:
        num_iterations = FIRST_ITERATIONS if self.is_fresh else ITERATIONS_PER_STEP
        self.is_fresh = False
        total = torch.zeros((), device=convolutions[0].weight.device)
        for (rows, columns), layers in _group_by_shape(convolutions).items():
            weights = [layer.effective_weight() for layer in layers]
            left = self.get_buffer(f"left_{rows}x{columns}")  # (L, R)
            right = self.get_buffer(f"right_{rows}x{columns}")  # (L, C)
            if all(fits(weight) for weight in weights):
                values = _SpectralNorms.apply(left, right, num_iterations, *weights)  # type: ignore[no-untyped-call]
                total = total + values
                continue
            matrices = torch.stack([as_matrix(weight).float() for weight in weights])  # (L, R, C)
            _iterate(matrices.detach(), left, right, num_iterations)
            products = torch.bmm(matrices, right[:, :, None])[:, :, 0]
            total = total + (left * products).sum()
        return total


class _SpectralNorms(torch.autograd.Function):
    """The sum of u W v over matrices of the same shape, after a power iteration of u and v."""

    @staticmethod
    def forward(
        ctx: Any, left: Tensor, right: Tensor, num_iterations: int, *weights: Tensor
    ) -> Tensor:
        values = [
            iterate(weight, u, v, num_iterations)
            for weight, u, v in zip(weights, left, right, strict=True)
        ]
        ctx.save_for_backward(left.clone(), right.clone())
        ctx.like = weights  # shapes and memory formats; they are alive anyway
        return left.new_tensor(sum(values))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        left, right = ctx.saved_tensors
        scaled = left * gradients[0]
        weight_gradients = []
        for weight, u, v in zip(ctx.like, scaled, right, strict=True):
            gradient = torch.empty_like(weight)
            torch.outer(u, v, out=as_matrix(gradient))
            weight_gradients.append(gradient)
        return (None, None, None, *weight_gradients)


def as_matrix(weight: Tensor) -> Tensor:
    """Return a weight (Cout, Cin, k, k) as a matrix of one row per output channel.

    The columns are in the order of the channels_last memory format, so that nothing is moved.
    """
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def convolutions_of(model: nn.Module) -> list[Conv2d]:
    """Return the convolutions of a model, in the order of its modules."""
    return modules_of(model, Conv2d)


def batch_norm_penalty(model: nn.Module) -> Tensor:
    """Return the sum over batch-norm layers of the largest absolute weight; 0 without any."""
    by_width: dict[int, list[Tensor]] = defaultdict(list)
    for norm in batch_norms_of(model):
        by_width[norm.weight.numel()].append(norm.weight)
    penalties = [torch.stack(weights).abs().amax(dim=1).sum() for weights in by_width.values()]
    return torch.stack(penalties).sum() if penalties else next(model.parameters()).new_zeros(())


def _group_by_shape(convolutions: Sequence[Conv2d]) -> dict[tuple[int, int], list[Conv2d]]:
    groups: dict[tuple[int, int], list[Conv2d]] = defaultdict(list)
    for convolution in convolutions:
        rows = convolution.weight.shape[0]
        groups[rows, convolution.weight.numel() // rows].append(convolution)
    return groups


@torch.no_grad()
def _iterate(matrices: Tensor, left: Tensor, right: Tensor, num_iterations: int) -> None:
    """Move the vectors (L, R) and (L, C) towards the singular vectors of (L, R, C), in place."""
    for _ in range(num_iterations):
        right.copy_(_normalize(torch.bmm(left[:, None, :], matrices)[:, 0]))
        left.copy_(_normalize(torch.bmm(matrices, right[:, :, None])[:, :, 0]))


def _normalize(vectors: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / norms.clamp_min(1e-3)
