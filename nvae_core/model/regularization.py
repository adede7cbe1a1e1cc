"""Penalties on the weights: spectral regularization (Eq. 10) and the batch-norm penalty."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nvae_core.model.batch_norm import BatchNorm
from nvae_core.model.convolutions import Conv2d

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
            matrices = torch.stack([_as_matrix(layer) for layer in layers])  # (L, R, C)
            left = self.get_buffer(f"left_{rows}x{columns}")  # (L, R)
            right = self.get_buffer(f"right_{rows}x{columns}")  # (L, C)
            _iterate(matrices.detach(), left, right, num_iterations)
            products = torch.bmm(matrices, right[:, :, None])[:, :, 0]
            total = total + (left * products).sum()
        return total


def convolutions_of(model: nn.Module) -> list[Conv2d]:
    """Return the convolutions of a model, in the order of its modules."""
    return [module for module in model.modules() if isinstance(module, Conv2d)]


def batch_norm_penalty(model: nn.Module) -> Tensor:
    """Return the sum over batch-norm layers of the largest absolute weight; 0 without any."""
    by_width: dict[int, list[Tensor]] = defaultdict(list)
    for module in model.modules():
        if isinstance(module, BatchNorm):
            by_width[module.weight.numel()].append(module.weight)
    penalties = [torch.stack(weights).abs().amax(dim=1).sum() for weights in by_width.values()]
    return torch.stack(penalties).sum() if penalties else next(model.parameters()).new_zeros(())


def _group_by_shape(convolutions: Sequence[Conv2d]) -> dict[tuple[int, int], list[Conv2d]]:
    groups: dict[tuple[int, int], list[Conv2d]] = defaultdict(list)
    for convolution in convolutions:
        rows = convolution.weight.shape[0]
        groups[rows, convolution.weight.numel() // rows].append(convolution)
    return groups


def _as_matrix(convolution: Conv2d) -> Tensor:
    weight = convolution.effective_weight()
    return weight.reshape(weight.shape[0], -1).float()


@torch.no_grad()
def _iterate(matrices: Tensor, left: Tensor, right: Tensor, num_iterations: int) -> None:
    """Move the vectors (L, R) and (L, C) towards the singular vectors of (L, R, C), in place."""
    for _ in range(num_iterations):
        right.copy_(_normalize(torch.bmm(left[:, None, :], matrices)[:, 0]))
        left.copy_(_normalize(torch.bmm(matrices, right[:, :, None])[:, :, 0]))


def _normalize(vectors: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / norms.clamp_min(1e-3)
