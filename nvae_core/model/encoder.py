"""The bottom-up half: from the image to the features that each group's posterior looks at."""

import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.architecture import Hierarchy, LatentGroup
from nvae_core.config import ModelConfig
from nvae_core.model.cells import build_cells
from nvae_core.model.convolutions import WeightNormConv2d
from nvae_core.model.flows import build_flow


class Encoder(nn.Module):
    """Stem, pre-process and encoder tower."""

    def __init__(self, config: ModelConfig, hierarchy: Hierarchy) -> None:
        super().__init__()
        gated = config.squeeze_excitation
        self.stem = WeightNormConv2d(config.num_colors, config.num_encoder_channels, 3)
        self.preprocess = build_cells(hierarchy.preprocess, squeeze_excitation=gated)
        self.tower = nn.ModuleList(
            build_cells(group.encoder_cells, squeeze_excitation=gated)
            for group in reversed(hierarchy.groups)
        )
        top_channels = hierarchy.top.encoder_channels
        self.top = WeightNormConv2d(top_channels, top_channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map padded images (B, C, R, R) in [0, 1] to the features of each group, top first."""
        h = self.preprocess(self.stem((2.0 * x - 1.0).to(self.stem.weight.dtype)))
        features: list[Tensor] = []
        for stage in self.tower:
            h = stage(h)
            features.append(h)
        features[-1] = F.elu(self.top(F.elu(h)))
        return tuple(reversed(features))


class PosteriorHead(nn.Module):
    """One group's posterior: its raw parameters, from features and state, and its flow."""

    def __init__(self, group: LatentGroup, config: ModelConfig) -> None:
        super().__init__()
        channels, num_latents = group.encoder_channels, config.num_latents_per_group
        self.combiner = (
            WeightNormConv2d(group.decoder_channels, channels, 1) if group.index > 0 else None
        )
        self.sampler = WeightNormConv2d(channels, 2 * num_latents, 3)
        self.sampler.in_float32 = True
        self.flow = build_flow(num_latents, num_transforms=config.num_flow_transforms)

    def forward(self, features: Tensor, state: Tensor) -> Tensor:
        """Map features (B, Ce, H, W) and state (B, Cd, H, W) to raw parameters (B, 2Z, H, W)."""
        if self.combiner is not None:
            features = features + self.combiner(state)
        raw: Tensor = self.sampler(features)
        return raw
