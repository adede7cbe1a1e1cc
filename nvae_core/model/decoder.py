"""The top-down half: from latents to the image, with the prior of each group on the way."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.config import ModelConfig
from nvae_core.model.cells import Direction, ResidualCell, decoder_cell
from nvae_core.model.distributions import BernoulliImage, RawNormal
from nvae_core.model.hierarchy import LatentGroup, latent_groups
from nvae_core.model.layers import WeightNormConv2d

TOWER_EXPANSION = 6
POSTPROCESS_EXPANSION = 3


class DecoderGroup(nn.Module):
    """One step down the hierarchy: advance the state, give the prior, take in the sample."""

    def __init__(self, group: LatentGroup, config: ModelConfig) -> None:
        super().__init__()
        channels = config.num_decoder_channels * group.width_multiplier
        self.num_latents = config.num_latents_per_group
        self.cells = _build_tower_cells(group, config)
        self.prior_head = (
            WeightNormConv2d(channels, 2 * self.num_latents, 1) if group.index > 0 else None
        )
        self.combiner = WeightNormConv2d(channels + self.num_latents, channels, 1)

    def advance(self, state: Tensor) -> Tensor:
        """Return the state at this group: (B, C, H, W), or (B, 2C, H / 2, W / 2) before it."""
        advanced: Tensor = self.cells(state)
        return advanced

    def prior(self, state: Tensor) -> RawNormal:
        """Return the prior's parameters, (B, Z, H, W); those of the first group are fixed."""
        if self.prior_head is not None:
            return RawNormal.split(self.prior_head(F.elu(state)))
        zeros = state.new_zeros(state.shape[0], self.num_latents, *state.shape[2:])
        return RawNormal(zeros, zeros)

    def combine(self, state: Tensor, z: Tensor) -> Tensor:
        """Return the state (B, C, H, W) after the sample z (B, Z, H, W)."""
        combined: Tensor = self.combiner(torch.cat([state, z], dim=1))
        return combined


class Decoder(nn.Module):
    """Learned top state, decoder tower, post-process and image distribution."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        groups = latent_groups(config)
        top = groups[0]
        top_channels = config.num_decoder_channels * top.width_multiplier
        self.padding = config.image_padding
        self.top_state = nn.Parameter(torch.rand(top_channels, top.resolution, top.resolution))
        self.groups = nn.ModuleList(DecoderGroup(group, config) for group in groups)
        self.postprocess = _build_postprocess(config)
        self.image_head = WeightNormConv2d(config.num_decoder_channels, 1, 3)

    def steps(self) -> Sequence[DecoderGroup]:
        """Return the groups, top first."""
        return cast(Sequence[DecoderGroup], self.groups)

    def initial_state(self, batch_size: int) -> Tensor:
        """Return the learned state above the first group, (B, C, H, W)."""
        return self.top_state.expand(batch_size, -1, -1, -1)

    def image(self, state: Tensor) -> BernoulliImage:
        """Return the distribution of the image, given the state after the last group."""
        return BernoulliImage(self.image_head(F.elu(self.postprocess(state))), self.padding)


def _build_tower_cells(group: LatentGroup, config: ModelConfig) -> nn.Sequential:
    if group.index == 0:
        return nn.Sequential()
    channels = config.num_decoder_channels * group.width_multiplier
    directions: list[Direction] = ["same"] * config.num_cells_per_group
    cells = [_tower_cell(channels, direction, config) for direction in directions]
    if group.starts_finer_scale:
        cells.insert(0, _tower_cell(2 * channels, "up", config))
    return nn.Sequential(*cells)


def _tower_cell(in_channels: int, direction: Direction, config: ModelConfig) -> ResidualCell:
    return decoder_cell(
        in_channels,
        direction,
        expansion=TOWER_EXPANSION,
        squeeze_excitation=config.squeeze_excitation,
    )


def _build_postprocess(config: ModelConfig) -> nn.Sequential:
    cells: list[ResidualCell] = []
    for block in reversed(range(config.num_preprocess_blocks)):
        channels = config.num_decoder_channels * 2**block
        for position in range(config.num_cells_per_block):
            first = position == 0
            cells.append(
                decoder_cell(
                    2 * channels if first else channels,
                    "up" if first else "same",
                    expansion=POSTPROCESS_EXPANSION,
                    squeeze_excitation=config.squeeze_excitation,
                )
            )
    return nn.Sequential(*cells)
