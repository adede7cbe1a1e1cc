"""AdaMax by a kernel of ours, in one pass over each parameter."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nvae_core.kernels.library import is_usable, library


def adamax_fits(parameters: Sequence[Tensor], moments: Sequence[tuple[Tensor, Tensor]]) -> bool:
    """Whether all parameters, and their moments, are as the kernel needs them."""
    return all(
        _is_dense(parameter)
        and parameter.stride() == mean.stride() == norm.stride()
        and is_usable(parameter)
        for parameter, (mean, norm) in zip(parameters, moments, strict=True)
    )


def _is_dense(parameter: Tensor) -> bool:
    return parameter.is_contiguous() or (
        parameter.dim() == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    )


def update(
    parameter: Tensor,
    gradient: Tensor,
    moments: tuple[Tensor, Tensor],
    *,
    rate: float,
    decays: tuple[float, float],
    epsilon: float,
    weight_decay: float,
) -> None:
    """Update a parameter and its moments, mean and infinity norm of its gradients, in place.

    `rate` is the learning rate over one minus the power of the first decay.
    """
    if gradient.stride() != parameter.stride():
        gradient = torch.empty_like(parameter).copy_(gradient)
    mean, norm = moments
    library().adamax_update(
        *(parameter.data_ptr(), gradient.data_ptr(), mean.data_ptr(), norm.data_ptr()),
        *(parameter.numel(), rate, *decays, epsilon, weight_decay),
    )
