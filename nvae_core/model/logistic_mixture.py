"""Mixture of discretized logistics, each pixel's colours together (as in PixelCNN++)."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nvae_core.config import ModelConfig
from nvae_core.model.discretized_logistic import bin_log_prob, published_bin_log_prob
from nvae_core.model.images import crop

MIN_LOG_SCALE = -7.0
UNIFORM_MARGIN = 1e-5  # uniform numbers are drawn from [margin, 1 - margin]


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
        logits, rest = parameters[:, :num_mixtures], parameters[:, num_mixtures:]
        parts = rest.reshape(len(rest), num_colors, -1, num_mixtures, *rest.shape[2:]).unbind(2)
        return cls(
            logits=logits,
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
