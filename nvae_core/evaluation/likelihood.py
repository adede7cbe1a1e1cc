"""Negative ELBO and importance-weighted likelihood of a model on images."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nvae_core.model.convolutions import hold_weights
from nvae_core.model.noise import Noise
from nvae_core.model.nvae import NVAE


class EvaluationStopped(Exception):
    """The evaluation was asked to stop in the middle of a batch."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class ImageLikelihoods:
    """Estimates for a batch of images, in nats."""

    negative_elbo: Tensor  # (B,), mean over the samples
    importance_weighted_nll: Tensor  # (B,)
    kl_per_group: Tensor  # (B, G), mean over the samples


@dataclass
class RunningLikelihood:
    """Means over the images so far."""

    num_dimensions: int
    parts: list[ImageLikelihoods] = field(default_factory=list)

    @property
    def num_images(self) -> int:
        """Number of images so far."""
        return sum(len(part.negative_elbo) for part in self.parts)

    def values(self) -> dict[str, float]:
        """Return the estimates by name; those per group are the KL in nats."""
        negative_elbo = torch.cat([part.negative_elbo for part in self.parts])
        nll = torch.cat([part.importance_weighted_nll for part in self.parts]).mean().item()
        kl_per_group = torch.cat([part.kl_per_group for part in self.parts]).mean(dim=0)
        spread = negative_elbo.std().item() if self.num_images > 1 else 0.0
        return {
            "negative_elbo": negative_elbo.mean().item(),
            "negative_elbo_standard_error": spread / math.sqrt(self.num_images),
            "importance_weighted_nll": nll,
            "bits_per_dim": nll / (math.log(2) * self.num_dimensions),
            "num_images": float(self.num_images),
            **name_groups("kl", kl_per_group),
        }


@torch.no_grad()
def estimate_likelihood(
    model: NVAE,
    batches: Iterable[Tensor],
    *,
    num_samples: int,
    generator: torch.Generator,
    should_stop: Callable[[], bool] = _never,
) -> Iterator[RunningLikelihood]:
    """Yield the running estimates after each batch of padded images (B, C, R, R).

    Raises:
        EvaluationStopped: `should_stop`, asked before each sample, said so.
    """
    running = RunningLikelihood(model.config.num_dimensions)
    model.eval()
    for x in batches:
        with hold_weights(model):
            part = score_images(model, x, [generator] * num_samples, should_stop=should_stop)
        running.parts.append(part)
        yield running


@torch.no_grad()
def score_images(
    model: NVAE,
    x: Tensor,
    noise_per_sample: Sequence[Noise],
    *,
    should_stop: Callable[[], bool] = _never,
) -> ImageLikelihoods:
    """Estimate the likelihood of padded images x (B, C, R, R); they are encoded once.

    Raises:
        EvaluationStopped: `should_stop`, asked before each sample, said so.
    """
    features = model.encode(x)
    log_weights: list[Tensor] = []
    negative_elbo = x.new_zeros(len(x))
    kl_per_group = x.new_zeros(len(x), len(features))
    for noise in noise_per_sample:
        if should_stop():
            raise EvaluationStopped
        reconstruction = model.reconstruct(features, noise)
        log_weights.append(reconstruction.importance_log_weight(x))
        kl = reconstruction.kl_per_channel().sum(dim=2)
        negative_elbo += kl.sum(dim=1) - reconstruction.log_prob(x)
        kl_per_group += kl
    num_samples = len(noise_per_sample)
    # log mean_k p(x, z_k) / q(z_k | x), as in importance-weighted autoencoders.
    log_mean = torch.stack(log_weights).logsumexp(dim=0) - math.log(num_samples)
    return ImageLikelihoods(negative_elbo / num_samples, -log_mean, kl_per_group / num_samples)


def name_groups(quantity: str, per_group: Tensor) -> dict[str, float]:
    """Return a quantity of each group (G,) under a name that sorts in its order, top first."""
    return {
        f"{quantity}/group_{index:02d}": float(value)
        for index, value in enumerate(per_group.tolist())
    }
