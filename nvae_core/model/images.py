"""Distributions of the image given the latents: what they have in common, and Bernoulli pixels."""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class ImageDistribution(Protocol):
    """What the model says about a batch of images; the padding is no part of it.

    Pixel values are k / (2^bits - 1) in [0, 1].
    """

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Return log p of each pixel, (B, H, W) nats, for padded images x of (B, C, R, R)."""

    def mean(self) -> Tensor:
        """Return the mean images, (B, C, H, W) in [0, 1]."""

    def draw(self, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """Draw images, (B, C, H, W) in [0, 1]; the lower the temperature, the sharper."""


@dataclass(frozen=True)
class BernoulliImage:
    """Independent Bernoulli pixels."""

    logits: Tensor  # (B, 1, H, W)
    padding: int

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Return log p of each pixel, (B, H, W) nats, for padded images x of (B, 1, R, R)."""
        x = crop(x, self.padding)
        return -F.binary_cross_entropy_with_logits(self.logits, x, reduction="none").sum(dim=1)

    def mean(self) -> Tensor:
        """Return the mean images, (B, 1, H, W) in [0, 1]."""
        return torch.sigmoid(self.logits)

    def draw(self, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """Draw images of zeros and ones, (B, 1, H, W)."""
        return torch.bernoulli(torch.sigmoid(self.logits / temperature), generator=generator)


def crop(x: Tensor, padding: int) -> Tensor:
    """Remove the padding from the last two dimensions."""
    return x[..., padding : x.shape[-2] - padding, padding : x.shape[-1] - padding]
