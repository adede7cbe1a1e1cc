"""The whole model folded: likelihoods of samples, and images drawn from the prior."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from nvae_core.architecture import build_hierarchy
from nvae_core.inference.activations import activate_, activated
from nvae_core.inference.cells import fold_cells, run_cells
from nvae_core.inference.convolutions import fold
from nvae_core.inference.groups import FoldedGroup, FoldedPosterior
from nvae_core.inference.latents import log_prior, sample_posterior, sample_prior
from nvae_core.kernels import logistic_mixture
from nvae_core.model.convolutions import hold_weights
from nvae_core.model.decoder import Decoder
from nvae_core.model.encoder import Encoder, PosteriorHead
from nvae_core.model.images import ImageDistribution
from nvae_core.model.nvae import NVAE


@dataclass(frozen=True)
class SampleScores:
    """What S samples of the posterior say of B images, in nats."""

    log_prob: Tensor  # log p(x | z), (S, B)
    log_ratio: Tensor  # log p(z) - log q(z | x), (S, B)
    kl_per_group: Tensor  # (S, B, G)


def fold_model(model: NVAE) -> "FoldedNVAE":
    """Return the model for evaluation; it is to be used until the model changes."""
    with torch.no_grad(), hold_weights(model):
        return FoldedNVAE(model)


def fold_decoder(model: NVAE) -> "FoldedDecoder":
    """Return what draws from the prior; it is to be used until the model changes."""
    with torch.no_grad(), hold_weights(model.decoder):
        return FoldedDecoder(model.decoder)


class FoldedNVAE:
    """An NVAE whose batch norms use their running statistics."""

    def __init__(self, model: NVAE) -> None:
        self.model = model
        self.encoder = FoldedEncoder(model.encoder)
        self.decoder = FoldedDecoder(model.decoder)
        heads = cast(Sequence[PosteriorHead], model.posteriors)
        self.posteriors = [FoldedPosterior(head) for head in heads]

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return all that needs the images (B, C, R, R): per group (B, H, W, 2Z), top first."""
        features = self.encoder(x)
        heads = zip(self.posteriors, features, strict=True)
        return tuple(head.of_features(own) for head, own in heads)

    @torch.no_grad()
    def score(self, x: Tensor, encoded: Sequence[Tensor], noise: Sequence[Tensor]) -> SampleScores:
        """Sample the posterior of images x (B, C, R, R) by noise (S, B, Z, H, W) per group."""
        is_residual = self.model.config.residual_posterior
        num_samples, batch_size = noise[0].shape[:2]
        state = self.decoder.top_state
        log_ratio, kl_per_group = None, []
        steps = zip(self.decoder.groups, self.posteriors, encoded, noise, strict=True)
        for group, posterior, of_features, draw in steps:
            state = group.advance(state)
            raw_prior = group.raw_prior(state)
            raw = of_features.expand(num_samples, -1, -1, -1, -1)
            if posterior.of_state is not None:
                raw = posterior.of_state(state).view_as(raw).add_(raw)
            raw = raw.flatten(0, 1).contiguous()  # of one image it would be a view of one sample
            if is_residual and raw_prior is not None:
                raw += raw_prior
            sample = sample_posterior(raw_prior, raw, _channels_last(draw.flatten(0, 1)))
            z = posterior.transform(sample.z)
            difference = log_prior(raw_prior, z).sub_(sample.log_density)
            kl_per_group.append(-difference if posterior.flow else sample.kl)
            log_ratio = difference if log_ratio is None else log_ratio + difference
            state = group.combine(state, z)
        assert log_ratio is not None
        shape = (num_samples, batch_size)
        return SampleScores(
            log_prob=self.decoder.log_prob(state, x).view(shape),
            log_ratio=log_ratio.view(shape),
            kl_per_group=torch.stack(kl_per_group, dim=1).view(*shape, -1),
        )


class FoldedEncoder:
    """Stem, pre-process and encoder tower."""

    def __init__(self, encoder: Encoder) -> None:
        self.dtype = encoder.stem.weight.dtype
        self.stem = fold(encoder.stem)
        self.preprocess = fold_cells(encoder.preprocess)
        self.tower = [fold_cells(stage) for stage in encoder.tower]  # type: ignore[arg-type]
        self.top = fold(encoder.top)

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map padded images (B, C, R, R) in [0, 1] to features (B, H, W, C), top group first."""
        h = self.stem(_channels_last((2.0 * x - 1.0).to(self.dtype)))
        h = run_cells(self.preprocess, h)
        features: list[Tensor] = []
        for stage in self.tower:
            h = run_cells(stage, h)
            features.append(h)
        features[-1] = activate_(self.top(activated(h, "elu")), "elu")
        return tuple(reversed(features))


class FoldedDecoder:
    """Top state, groups, post-process and image distribution: all that samples need."""

    def __init__(self, decoder: Decoder) -> None:
        self.config = decoder.config
        self.distribution = decoder.distribution
        self._hierarchy = build_hierarchy(decoder.config)
        self.top_state = _channels_last(decoder.initial_state(1))
        self.groups = [FoldedGroup(group) for group in decoder.steps()]
        self.postprocess = fold_cells(decoder.postprocess)
        self.image_head = fold(decoder.image_head)

    def noise_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Return the shape of each group's noise, top first: (B, Z, H, W)."""
        return self._hierarchy.latent_shapes(self.config.num_latents_per_group, batch_size)

    @torch.no_grad()
    def generate(self, noise: Sequence[Tensor], temperature: float) -> ImageDistribution:
        """Sample the prior by noise (B, Z, H, W) per group, and return the images' distribution."""
        state = self.top_state
        for group, draw in zip(self.groups, noise, strict=True):
            state = group.advance(state)
            z = sample_prior(group.raw_prior(state), _channels_last(draw), temperature)
            state = group.combine(state, z)
        return self.image(state)

    def image(self, state: Tensor) -> ImageDistribution:
        """Return the distribution of the image, given the state after the last group."""
        return self.distribution(self._parameters(state).permute(0, 3, 1, 2))

    def log_prob(self, state: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | z) of images x (B, C, R, R), given S B states: (S B,)."""
        parameters, config = self._parameters(state), self.config
        has_kernel = (
            config.image_distribution == "logistic_mixture"
            and config.logistic_bins == "exact"
            and config.image_padding == 0
        )
        if has_kernel and logistic_mixture.fits(parameters, x):
            return logistic_mixture.log_prob(
                parameters, x, num_components=config.num_mixtures, bit_depth=config.bit_depth
            )
        repeated = x.repeat(len(parameters) // len(x), 1, 1, 1)
        image = self.distribution(parameters.permute(0, 3, 1, 2))
        return image.log_prob_map(repeated).sum(dim=(1, 2))

    def _parameters(self, state: Tensor) -> Tensor:
        return self.image_head(activate_(run_cells(self.postprocess, state), "elu"))


def _channels_last(x: Tensor) -> Tensor:
    """Return (B, C, H, W) as (B, H, W, C)."""
    return x.permute(0, 2, 3, 1).contiguous()
