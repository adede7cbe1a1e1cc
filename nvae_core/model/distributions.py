"""Distributions of latents and of images; computed in float32 whatever the network computes in.

The logistic mixture is that of PixelCNN++, each pixel's colours together. Its 2^bits levels lie in
[-1, 1], two half bins apart; the lowest bin is open below, the highest above.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from nvae_core.config import ModelConfig

MIN_LOG_SCALE = -7.0
UNIFORM_MARGIN = 1e-5  # uniform numbers are drawn from [margin, 1 - margin]
NARROW = 1e-4  # bins narrower than this many scales take the series of log(1 - exp(-width))
MIN_SIGMA = 0.01


@dataclass(frozen=True)
class Normal:
    """Independent normal distributions; mean and sigma have the same shape."""

    mean: Tensor
    sigma: Tensor

    @classmethod
    def from_raw(cls, raw: Tensor, temperature: float = 1.0, channel_dim: int = -3) -> "Normal":
        """Read what a network says, 2Z channels: means, then log sigmas, before the clamp.

        The standard deviation is scaled by the temperature.
        """
        mean, log_sigma = soft_clamp(raw.float()).chunk(2, dim=channel_dim)
        sigma = log_sigma.exp() + MIN_SIGMA
        return cls(mean, sigma if temperature == 1.0 else sigma * temperature)

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + sigma * noise: a reparametrized sample where noise is standard normal."""
        return torch.addcmul(self.mean, self.sigma, noise)

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density of each element of z, in nats."""
        normalized = (z - self.mean) / self.sigma
        return -0.5 * normalized.square() - 0.5 * math.log(2 * math.pi) - self.sigma.log()


def soft_clamp(x: Tensor) -> Tensor:
    """Keep values in (-5, 5), smoothly: 5 tanh(x / 5)."""
    return 5.0 * torch.tanh(x / 5.0)


def kl_divergence(q: Normal, p: Normal) -> Tensor:
    """Return KL(q || p) of each element in closed form, in nats (Eq. 2 of the paper)."""
    ratio = q.sigma / p.sigma
    distance = (q.mean - p.mean) / p.sigma
    return 0.5 * (distance.square() + ratio.square()) - 0.5 - ratio.log()


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
    if padding == 0:
        return x
    return x[..., padding : x.shape[-2] - padding, padding : x.shape[-1] - padding]


class Logistics(NamedTuple):
    """Parameters per colour of one logistic, or of M; on the scale of [-1, 1]."""

    means: Tensor  # (B, C, [M,] H, W)
    log_scales: Tensor  # the same
    coefficients: Tensor | None  # the same, with three colours


@dataclass(frozen=True)
class LogisticMixtureImage:
    """Mixture of M logistics per pixel; green's mean depends on red, blue's on both."""

    logits: Tensor  # (B, M, H, W)
    components: Logistics
    bit_depth: int
    bins: Literal["exact", "published"]
    padding: int

    @classmethod
    def split(cls, parameters: Tensor, config: ModelConfig) -> "LogisticMixtureImage":
        """Read the channels of (B, M (1 + K C), H, W); K is 2 with one colour, 3 with three.

        First the M logits; then for each colour M means, M log scales and M coefficients.
        """
        num_mixtures, num_colors = config.num_mixtures, config.num_colors
        # With the channels last, so that the gradient is put together as they lie in memory.
        pixels = parameters.permute(0, 2, 3, 1)
        sizes = [num_mixtures, pixels.shape[3] - num_mixtures]
        logits, rest = torch.split(pixels, sizes, dim=3)
        by_color = rest.reshape(*rest.shape[:3], num_colors, -1, num_mixtures)
        parts = [part.permute(0, 3, 4, 1, 2) for part in by_color.unbind(4)]
        return cls(
            logits=logits.permute(0, 3, 1, 2),
            components=Logistics(
                means=parts[0],
                log_scales=parts[1].clamp_min(MIN_LOG_SCALE),
                coefficients=torch.tanh(parts[2]) if num_colors == 3 else None,
            ),
            bit_depth=config.bit_depth,
            bins=config.logistic_bins,
            padding=config.image_padding,
        )

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Return log p of each pixel, (B, H, W) nats, for padded images x of (B, C, R, R)."""
        x = 2.0 * crop(x, self.padding)[:, :, None] - 1.0  # (B, C, 1, H, W)
        log_prob = bin_log_prob if self.bins == "exact" else published_bin_log_prob
        means = _condition_means(self.components, x)
        # (B, C, M, H, W)
        per_color = log_prob(x, means, self.components.log_scales, self.bit_depth)
        per_component = per_color.sum(dim=1) + F.log_softmax(self.logits, dim=1)
        return torch.logsumexp(per_component, dim=1)

    def mean(self) -> Tensor:
        """Return images (B, C, H, W) in [0, 1] of the components' means, mixed by weight."""
        weights = torch.softmax(self.logits, dim=1)[:, None]  # (B, 1, M, H, W)
        return _to_unit(_chain_colors(self._mix(weights), offsets=None))

    def draw(self, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """Draw images, (B, C, H, W) in [0, 1]; the lower the temperature, the sharper."""
        means = self.components.means
        batch_size, num_colors, _, height, width = means.shape
        return self.draw_from(
            _draw_uniform(self.logits.shape, generator),
            _draw_uniform((batch_size, num_colors, height, width), generator),
            choice_temperature=temperature,
            scale_temperature=temperature,
        )

    def draw_from(
        self,
        choice_uniform: Tensor,
        logistic_uniform: Tensor,
        *,
        choice_temperature: float,
        scale_temperature: float,
    ) -> Tensor:
        """Turn uniform numbers, (B, M, H, W) and (B, C, H, W), into images (B, C, H, W).

        The temperatures divide the mixture's logits, and multiply the chosen logistic's scale.
        """
        gumbel = -torch.log(-torch.log(choice_uniform))
        choice = (self.logits / choice_temperature + gumbel).argmax(dim=1)
        chosen = F.one_hot(choice, self.logits.shape[1]).movedim(-1, 1)[:, None]
        logistics = self._mix(chosen.to(self.logits.dtype))
        scales = scale_temperature * logistics.log_scales.exp()
        return _to_unit(_chain_colors(logistics, offsets=scales * torch.logit(logistic_uniform)))

    def _mix(self, weights: Tensor) -> Logistics:
        """Return one logistic per colour and pixel, for weights of (B, 1, M, H, W)."""
        means, log_scales, coefficients = self.components
        return Logistics(
            (weights * means).sum(dim=2),
            (weights * log_scales).sum(dim=2),
            None if coefficients is None else (weights * coefficients).sum(dim=2),
        )


def _condition_means(components: Logistics, x: Tensor) -> Tensor:
    """Return the means given the colours that come before, for x of (B, C, 1, H, W)."""
    means, _, coefficients = components
    if coefficients is None:
        return means
    red, green, _ = x.unbind(1)
    on_red_of_green, on_red_of_blue, on_green_of_blue = coefficients.unbind(1)
    mean_red, mean_green, mean_blue = means.unbind(1)
    mean_green = mean_green + on_red_of_green * red
    mean_blue = mean_blue + on_red_of_blue * red + on_green_of_blue * green
    return torch.stack([mean_red, mean_green, mean_blue], dim=1)


def _chain_colors(logistics: Logistics, offsets: Tensor | None) -> Tensor:
    """Return mean + offset of one colour after the other, each in [-1, 1]: (B, C, H, W)."""
    own, _, coefficients = logistics
    own = own if offsets is None else own + offsets
    if coefficients is None:
        return own.clamp(-1.0, 1.0)
    on_red_of_green, on_red_of_blue, on_green_of_blue = coefficients.unbind(1)
    red = own[:, 0].clamp(-1.0, 1.0)
    green = (own[:, 1] + on_red_of_green * red).clamp(-1.0, 1.0)
    blue = (own[:, 2] + on_red_of_blue * red + on_green_of_blue * green).clamp(-1.0, 1.0)
    return torch.stack([red, green, blue], dim=1)


def _draw_uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    uniform = torch.rand(shape, generator=generator, device=generator.device)
    return UNIFORM_MARGIN + (1.0 - 2.0 * UNIFORM_MARGIN) * uniform


def _to_unit(x: Tensor) -> Tensor:
    return (x + 1.0) / 2.0


def bin_log_prob(x: Tensor, means: Tensor, log_scales: Tensor, bit_depth: int) -> Tensor:
    """Return the log probability of the level nearest to x; over all levels they sum to 1.

    With the bin's edges a and b in scales from the mean, it rests on
    sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), which loses no digits.
    """
    last = 2**bit_depth - 1
    # From whole numbers, so that the edge between two bins is the same number in both.
    position = 2.0 * torch.round((x + 1.0) * (last / 2)) - last  # -last, -last + 2, ..., last
    inverse_scales = torch.exp(-log_scales)
    log_below_upper = F.logsigmoid(inverse_scales * ((position + 1.0) / last - means))
    log_above_lower = F.logsigmoid(-inverse_scales * ((position - 1.0) / last - means))
    inside = log_below_upper + log_above_lower + _log_one_minus_exp(log_scales, 2.0 / last)
    log_prob = torch.where(position == last, log_above_lower, inside)
    return torch.where(position == -last, log_below_upper, log_prob)


def published_bin_log_prob(x: Tensor, means: Tensor, log_scales: Tensor, bit_depth: int) -> Tensor:
    """Return what the published implementation takes for `bin_log_prob`.

    At 8 bits the last level but one counts as open above too, so that the probabilities sum to
    more than 1 for bright pixels; a bin of tiny probability takes the density at its middle.
    """
    half_bin = 1.0 / (2**bit_depth - 1)
    inverse_scales = torch.exp(-log_scales)
    upper = inverse_scales * (x - means + half_bin)
    lower = inverse_scales * (x - means - half_bin)
    middle = inverse_scales * (x - means)
    mass = torch.sigmoid(upper) - torch.sigmoid(lower)
    log_density = middle - log_scales - 2.0 * F.softplus(middle) + math.log(2.0 * half_bin)
    log_mass = torch.log(mass.clamp_min(1e-10))
    log_prob = torch.where(mass > 1e-5, log_mass, log_density)
    log_prob = torch.where(x > 0.99, -F.softplus(lower), log_prob)
    return torch.where(x < -0.999, upper - F.softplus(upper), log_prob)


def _log_one_minus_exp(log_scales: Tensor, bin_width: float) -> Tensor:
    """Return log(1 - exp(-w)) where w is the width of a bin in scales."""
    width = bin_width * torch.exp(-log_scales)
    narrow = math.log(bin_width) - log_scales - width / 2.0
    return torch.where(width < NARROW, narrow, torch.log(-torch.expm1(-width.clamp_min(NARROW))))
