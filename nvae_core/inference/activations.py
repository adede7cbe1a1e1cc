"""Activations in place."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nvae_core.kernels import activation as kernels
from nvae_core.kernels.library import is_usable
from nvae_core.model.normalization import Activation

InPlaceActivation = Activation | Literal["elu_twice"]
CODES: dict[InPlaceActivation, int] = {"identity": 0, "swish": 1, "elu": 2, "elu_twice": 3}


def activate_(x: Tensor, activation: InPlaceActivation) -> Tensor:
    """Apply an activation to x, of any shape and contiguous, in place."""
    if activation == "identity":
        return x
    if is_usable(x):
        kernels.activate(x, x, CODES[activation])
        return x
    if activation == "swish":
        return F.silu(x, inplace=True)
    x = F.elu_(x)
    return F.elu_(x) if activation == "elu_twice" else x


def activated(x: Tensor, activation: InPlaceActivation) -> Tensor:
    """Return the activation of x, which stays as it is."""
    if is_usable(x):
        y = torch.empty_like(x)
        kernels.activate(x, y, CODES[activation])
        return y
    return activate_(x.clone(), activation)
