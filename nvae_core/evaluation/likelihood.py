"""Negative ELBO and importance-weighted likelihood of a model on images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nvae_core.model.fuse import fuse
from nvae_core.model.nvae import NVAE
from nvae_core.sampling.draw import images_per_pass
from nvae_core.seeding import Noise, take_noise


class EvaluationStopped(Exception):
    """The evaluation was asked to stop in the middle of a batch."""


@dataclass(frozen=True)
class SampleScores:
    """What S samples of the posterior say of B images, in nats."""

    log_prob: Tensor  # log p(x | z), (S, B)
    log_ratio: Tensor  # log p(z) - log q(z | x), (S, B)
    kl_per_group: Tensor  # (S, B, G)


@dataclass(frozen=True)
class ImageLikelihoods:
    """Estimates for a batch of images, in nats and float64."""

    negative_elbo: Tensor  # (B,), mean over the samples
    importance_weighted_nll: Tensor  # (B,)
    kl_per_group: Tensor  # (B, G), mean over the samples


@torch.no_grad()
def score_images(model: NVAE, x: Tensor, noise_per_sample: Sequence[Noise]) -> ImageLikelihoods:
    """Estimate the likelihood of padded images x (B, C, R, R) under the model as it is now."""
    return score_by(fuse(model), x, noise_per_sample)


@torch.no_grad()
def score_by(
    model: NVAE,
    x: Tensor,
    noise_per_sample: Sequence[Noise],
    *,
    should_stop: Callable[[], bool] | None = None,
) -> ImageLikelihoods:
    """Estimate the likelihood of padded images x (B, C, R, R); they are encoded once.

    Each sample takes its noise for all images and groups before the next one does. A pass takes
    several samples of all images, or one sample of some of them.

    Raises:
        EvaluationStopped: `should_stop`, asked before each pass, said so.
    """
    pass_size = images_per_pass(x.device, x.shape[-1])
    images = torch.split(x, pass_size)
    encoded = [model.encode(part) for part in images]
    shapes = model.noise_shapes(len(x))
    num_samples = max(1, pass_size // len(x))
    estimate = StreamingEstimate()
    for start in range(0, len(noise_per_sample), num_samples):
        samples = noise_per_sample[start : start + num_samples]
        draws = [take_noise(noise, shapes) for noise in samples]
        noise = [torch.stack(group) for group in zip(*draws, strict=True)]
        parts = zip(*(torch.split(group, pass_size, dim=1) for group in noise), strict=True)
        scores: list[SampleScores] = []
        for part, features, part_noise in zip(images, encoded, parts, strict=True):
            if should_stop is not None and should_stop():
                raise EvaluationStopped
            scores.append(_score_samples(model, part, features, part_noise))
        estimate.add(_join(scores))
    return estimate.result()


def _score_samples(
    model: NVAE, x: Tensor, features: Sequence[Tensor], noise: Sequence[Tensor]
) -> SampleScores:
    """Sample the posterior of images x (B, C, R, R) by noise (S, B, Z, H, W) per group."""
    shape = noise[0].shape[:2]
    flat = [group.flatten(0, 1) for group in noise]
    output = model.reconstruct(features, flat, num_samples=shape[0])
    kl_per_group, log_ratio = output.kl_and_log_ratio()
    return SampleScores(
        log_prob=output.log_prob(x.repeat(shape[0], 1, 1, 1)).view(shape),
        log_ratio=log_ratio.sum(dim=1).view(shape),
        kl_per_group=kl_per_group.reshape(*shape, -1),
    )


def _join(parts: Sequence[SampleScores]) -> SampleScores:
    """Return the scores of all images, (S, B), given those of parts of them."""
    return SampleScores(
        torch.cat([part.log_prob for part in parts], dim=1),
        torch.cat([part.log_ratio for part in parts], dim=1),
        torch.cat([part.kl_per_group for part in parts], dim=1),
    )


class StreamingEstimate:
    """Means over the samples so far, and the logarithm of the mean weight.

    In float64: sums of many samples of a large image are beyond the digits of float32.
    """

    def __init__(self) -> None:
        self._num_samples = 0
        self._log_sum = torch.tensor(-math.inf, dtype=torch.float64)
        self._negative_elbo = torch.zeros((), dtype=torch.float64)
        self._kl_per_group = torch.zeros((), dtype=torch.float64)

    def add(self, scores: SampleScores) -> None:
        """Add samples."""
        log_prob, kl_per_group = scores.log_prob.double(), scores.kl_per_group.double()
        log_weights = log_prob + scores.log_ratio.double()
        self._num_samples += len(log_weights)
        self._log_sum = torch.logaddexp(self._log_sum.to(log_weights), log_weights.logsumexp(dim=0))
        negative_elbo = kl_per_group.sum(dim=2) - log_prob
        self._negative_elbo = self._negative_elbo.to(log_weights) + negative_elbo.sum(dim=0)
        self._kl_per_group = self._kl_per_group.to(log_weights) + kl_per_group.sum(dim=0)

    def result(self) -> ImageLikelihoods:
        """Return the estimates."""
        # log mean_k p(x, z_k) / q(z_k | x), as in importance-weighted autoencoders.
        log_mean = self._log_sum - math.log(self._num_samples)
        return ImageLikelihoods(
            self._negative_elbo / self._num_samples,
            -log_mean,
            self._kl_per_group / self._num_samples,
        )


def name_groups(quantity: str, per_group: Tensor) -> dict[str, float]:
    """Return a quantity of each group (G,) under a name that sorts in its order, top first."""
    return {
        f"{quantity}/group_{index:02d}": float(value)
        for index, value in enumerate(per_group.tolist())
    }
