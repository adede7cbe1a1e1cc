"""The bottom-up half: from the image to the features that each group's posterior looks at."""

import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.config import ModelConfig
from nvae_core.model.cells import Direction, ResidualCell, encoder_cell
from nvae_core.model.distributions import RawNormal
from nvae_core.model.hierarchy import LatentGroup, latent_groups
from nvae_core.model.layers import WeightNormConv2d


class Encoder(nn.Module):
    """Stem, pre-process and encoder tower."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.stem = WeightNormConv2d(config.num_colors, config.num_encoder_channels, 3)
        self.preprocess = _build_preprocess(config)
        bottom_up = reversed(latent_groups(config))
        self.tower = nn.ModuleList(_build_stage(group, config) for group in bottom_up)
        top_channels = config.num_encoder_channels * latent_groups(config)[0].width_multiplier
        self.top = WeightNormConv2d(top_channels, top_channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map padded images (B, C, R, R) in [0, 1] to the features of each group, top first."""
        h = self.preprocess(self.stem(2.0 * x - 1.0))
        features: list[Tensor] = []
        for stage in self.tower:
            h = stage(h)
            features.append(h)
        features[-1] = F.elu(self.top(F.elu(h)))
        return tuple(reversed(features))


class PosteriorHead(nn.Module):
    """Parameters of one group's posterior, from the encoder's features and the decoder's state."""

    def __init__(self, group: LatentGroup, config: ModelConfig) -> None:
        super().__init__()
        encoder_channels = config.num_encoder_channels * group.width_multiplier
        decoder_channels = config.num_decoder_channels * group.width_multiplier
        self.combiner = (
            WeightNormConv2d(decoder_channels, encoder_channels, 1) if group.index > 0 else None
        )
        self.sampler = WeightNormConv2d(encoder_channels, 2 * config.num_latents_per_group, 3)

    def forward(self, features: Tensor, state: Tensor) -> RawNormal:
        """Map features (B, Ce, H, W) and state (B, Cd, H, W) to parameters of (B, Z, H, W)."""
        if self.combiner is not None:
            features = features + self.combiner(state)
        return RawNormal.split(self.sampler(features))


def _build_preprocess(config: ModelConfig) -> nn.Sequential:
    cells: list[ResidualCell] = []
    channels = config.num_encoder_channels
    for _ in range(config.num_preprocess_blocks):
        for position in range(config.num_cells_per_block):
            last = position == config.num_cells_per_block - 1
            direction: Direction = "down" if last else "same"
            cells.append(
                encoder_cell(channels, direction, squeeze_excitation=config.squeeze_excitation)
            )
        channels *= 2
    return nn.Sequential(*cells)


def _build_stage(group: LatentGroup, config: ModelConfig) -> nn.Sequential:
    """Return the cells of one group, after the one that halves the resolution where needed."""
    cells: list[ResidualCell] = []
    channels = config.num_encoder_channels * group.width_multiplier
    is_last_of_scale = group.position == group.num_groups_in_scale - 1
    is_finest_scale = group.halvings == config.num_preprocess_blocks
    if is_last_of_scale and not is_finest_scale:
        cells.append(
            encoder_cell(channels // 2, "down", squeeze_excitation=config.squeeze_excitation)
        )
    for _ in range(config.num_cells_per_group):
        cells.append(encoder_cell(channels, "same", squeeze_excitation=config.squeeze_excitation))
    return nn.Sequential(*cells)
