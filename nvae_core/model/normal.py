"""Normal distributions of the latents; computed in float32 whatever the network computes in."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MIN_SIGMA = 0.01


@dataclass(frozen=True)
class Normal:
    """Independent normal distributions; mean and sigma are (B, Z, H, W)."""

    mean: Tensor
    sigma: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + sigma * noise: a reparametrized sample where noise is standard normal."""
        return torch.addcmul(self.mean, self.sigma, noise)

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density of each element of z, in nats."""
        normalized = (z - self.mean) / self.sigma
        return -0.5 * normalized.square() - 0.5 * math.log(2 * math.pi) - self.sigma.log()


@dataclass(frozen=True)
class RawNormal:
    """What a network says about a normal distribution: mean and log sigma before the clamp."""

    mean: Tensor
    log_sigma: Tensor

    @classmethod
    def split(cls, parameters: Tensor) -> "RawNormal":
        """Read the first half of the channels as means, the second as log sigmas."""
        mean, log_sigma = parameters.float().chunk(2, dim=1)
        return cls(mean, log_sigma)

    def __add__(self, residual: "RawNormal") -> "RawNormal":
        """Return the distribution whose raw parameters are the sums (Sec. 3.2 of the paper)."""
        return RawNormal(self.mean + residual.mean, self.log_sigma + residual.log_sigma)

    def clamp(self, temperature: float = 1.0) -> Normal:
        """Return the distribution, its standard deviation scaled by the temperature."""
        sigma = soft_clamp(self.log_sigma).exp() + MIN_SIGMA
        if temperature != 1.0:
            sigma = sigma * temperature
        return Normal(soft_clamp(self.mean), sigma)


def soft_clamp(x: Tensor) -> Tensor:
    """Keep values in (-5, 5), smoothly: 5 tanh(x / 5)."""
    return 5.0 * torch.tanh(x / 5.0)


def kl_divergence(q: Normal, p: Normal) -> Tensor:
    """Return KL(q || p) of each element in closed form, in nats (Eq. 2 of the paper)."""
    ratio = q.sigma / p.sigma
    distance = (q.mean - p.mean) / p.sigma
    return 0.5 * (distance.square() + ratio.square()) - 0.5 - ratio.log()
