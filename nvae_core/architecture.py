"""The network's layout: its groups and cells, their kinds, widths and sizes; free of torch.

Sizes are those of the padded image, halved; channels double with each halving.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nvae_core.config import CellArchitecture, ModelConfig

Direction = Literal["same", "down", "up"]
FLOW_EXPANSION = 6  # hidden channels of a flow's transform, per latent


@dataclass(frozen=True)
class TwoConvolutions:
    """Twice an activation and a 3x3 convolution (Fig. 3b is that of the defaults)."""

    activation: Literal["swish", "elu"] = "swish"
    batch_norm: bool = True  # before each activation; without it, data-dependent initialization
    dilations: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class InvertedResidual:
    """Expand to more channels, convolve few of them at a time, project (Fig. 3a)."""

    expansion: int
    kernel_size: int = 5
    num_convolution_groups: int | None = None  # None: depthwise


CellKind = TwoConvolutions | InvertedResidual


@dataclass(frozen=True)
class CellTable:
    """The kind of cell in each part of the network."""

    preprocess: CellKind
    encoder: CellKind
    decoder: CellKind
    postprocess: CellKind


RES_BNSWISH = TwoConvolutions()
RES_BNELU = TwoConvolutions(activation="elu")
RES_ELU = TwoConvolutions(activation="elu", batch_norm=False)
MBCONV_E6 = InvertedResidual(expansion=6)
MBCONV_E3 = InvertedResidual(expansion=3)
MBCONV_E6_K11 = InvertedResidual(expansion=6, kernel_size=11)
MBCONV_E3_G8 = InvertedResidual(expansion=3, num_convolution_groups=8)


def _everywhere(kind: CellKind) -> CellTable:
    return CellTable(kind, kind, kind, kind)


def _dilated(dilations: tuple[int, int]) -> CellTable:
    bottom_up = TwoConvolutions(dilations=dilations)
    return CellTable(bottom_up, bottom_up, MBCONV_E6, MBCONV_E3)


# The first one is the paper's; the others are the published code's, by its names.
CELL_TABLES: Mapping[CellArchitecture, CellTable] = {
    "res_mbconv": CellTable(RES_BNSWISH, RES_BNSWISH, MBCONV_E6, MBCONV_E3),
    "res_bnswish": _everywhere(RES_BNSWISH),
    "res_bnelu": _everywhere(RES_BNELU),
    "res_elu": _everywhere(RES_ELU),
    "mbconv_res": CellTable(MBCONV_E3, MBCONV_E6, RES_BNSWISH, RES_BNSWISH),
    "mbconv_sep": CellTable(MBCONV_E3, MBCONV_E6, MBCONV_E6, MBCONV_E3),
    "mbconv_sep11": CellTable(MBCONV_E3, MBCONV_E6_K11, MBCONV_E6_K11, MBCONV_E3),
    "mbconv_den": CellTable(MBCONV_E3_G8, MBCONV_E6, MBCONV_E6, MBCONV_E3_G8),
    "res53_mbconv": _dilated((2, 1)),
    "res35_mbconv": _dilated((1, 2)),
    "res55_mbconv": _dilated((2, 2)),
}


@dataclass(frozen=True)
class Cell:
    """One residual cell; `down` halves the resolution and doubles the channels, `up` undoes it."""

    kind: CellKind
    direction: Direction
    in_channels: int
    in_resolution: int

    @property
    def out_channels(self) -> int:
        """Channels of its output."""
        if self.direction == "same":
            return self.in_channels
        return self.in_channels * 2 if self.direction == "down" else self.in_channels // 2

    @property
    def out_resolution(self) -> int:
        """Height and width of its output."""
        if self.direction == "same":
            return self.in_resolution
        return self.in_resolution // 2 if self.direction == "down" else self.in_resolution * 2


@dataclass(frozen=True)
class LatentGroup:
    """One group of latent variables; groups are numbered from the top, which is the coarsest."""

    index: int
    scale: int  # 0 is the coarsest
    num_groups_in_scale: int
    resolution: int  # height and width of its latents
    encoder_channels: int
    decoder_channels: int
    encoder_cells: tuple[Cell, ...]  # bottom-up, from the group below to this one
    decoder_cells: tuple[Cell, ...]  # top-down, from the group above to this one


@dataclass(frozen=True)
class Hierarchy:
    """The whole network, as cells between its stem and its heads."""

    preprocess: tuple[Cell, ...]  # bottom-up
    groups: tuple[LatentGroup, ...]  # top first
    postprocess: tuple[Cell, ...]  # top-down
    has_towers: bool  # not with a single group: then it is an ordinary VAE
    image_head_channels: int

    def latent_shapes(self, num_latents: int, batch_size: int) -> list[tuple[int, ...]]:
        """Return the shape of each group's latents, top first: (B, Z, H, W)."""
        return [
            (batch_size, num_latents, group.resolution, group.resolution) for group in self.groups
        ]

    @property
    def top_state_channels(self) -> int:
        """Channels of the learned state above the first group; without towers there is none."""
        return self.top.decoder_channels if self.has_towers else 0

    @property
    def top(self) -> LatentGroup:
        """The coarsest group, which is sampled first."""
        return self.groups[0]


def build_hierarchy(config: ModelConfig) -> Hierarchy:
    """Lay out the network of a configuration."""
    num_scales = len(config.num_groups_per_scale)
    groups: list[LatentGroup] = []
    for scale, num_groups in enumerate(config.num_groups_per_scale):
        num_halvings = config.num_preprocess_blocks + num_scales - 1 - scale
        for position in range(num_groups):
            group = _lay_out_group(
                config, scale=scale, position=position, num_halvings=num_halvings, index=len(groups)
            )
            groups.append(group)
    return Hierarchy(
        preprocess=_lay_out_preprocess(config),
        groups=tuple(groups),
        postprocess=_lay_out_postprocess(config),
        has_towers=_has_towers(config),
        image_head_channels=_image_head_channels(config),
    )


def _has_towers(config: ModelConfig) -> bool:
    return sum(config.num_groups_per_scale) > 1


def _lay_out_group(
    config: ModelConfig, *, scale: int, position: int, num_halvings: int, index: int
) -> LatentGroup:
    num_groups = config.num_groups_per_scale[scale]
    resolution = config.resolution >> num_halvings
    encoder_channels = config.num_encoder_channels << num_halvings
    decoder_channels = config.num_decoder_channels << num_halvings
    table = CELL_TABLES[config.cell_architecture]
    encoder_cells: list[Cell] = []
    decoder_cells: list[Cell] = []
    # The encoder comes from the finer scale into the last group of this one.
    if position == num_groups - 1 and scale < len(config.num_groups_per_scale) - 1:
        encoder_cells.append(Cell(table.encoder, "down", encoder_channels // 2, 2 * resolution))
    # The decoder comes from the coarser scale into the first.
    if position == 0 and scale > 0:
        decoder_cells.append(Cell(table.decoder, "up", 2 * decoder_channels, resolution // 2))
    if _has_towers(config):
        cell = Cell(table.encoder, "same", encoder_channels, resolution)
        encoder_cells += [cell] * config.num_encoder_cells_per_group
    if index > 0:
        cell = Cell(table.decoder, "same", decoder_channels, resolution)
        decoder_cells += [cell] * config.num_decoder_cells_per_group
    return LatentGroup(
        index=index,
        scale=scale,
        num_groups_in_scale=num_groups,
        resolution=resolution,
        encoder_channels=encoder_channels,
        decoder_channels=decoder_channels,
        encoder_cells=tuple(encoder_cells),
        decoder_cells=tuple(decoder_cells),
    )


def _lay_out_preprocess(config: ModelConfig) -> tuple[Cell, ...]:
    """Return blocks whose last cell halves the resolution."""
    kind = CELL_TABLES[config.cell_architecture].preprocess
    cells: list[Cell] = []
    for block in range(config.num_preprocess_blocks):
        channels, resolution = config.num_encoder_channels << block, config.resolution >> block
        same = Cell(kind, "same", channels, resolution)
        cells += [same] * (config.num_preprocess_cells - 1)
        cells.append(Cell(kind, "down", channels, resolution))
    return tuple(cells)


def _lay_out_postprocess(config: ModelConfig) -> tuple[Cell, ...]:
    """Return blocks whose first cell doubles the resolution."""
    kind = CELL_TABLES[config.cell_architecture].postprocess
    cells: list[Cell] = []
    for block in reversed(range(config.num_preprocess_blocks)):
        channels, resolution = config.num_decoder_channels << block, config.resolution >> block
        cells.append(Cell(kind, "up", 2 * channels, resolution // 2))
        same = Cell(kind, "same", channels, resolution)
        cells += [same] * (config.num_postprocess_cells - 1)
    return tuple(cells)


def _image_head_channels(config: ModelConfig) -> int:
    """Return the parameters of the image distribution per pixel."""
    if config.image_distribution == "bernoulli":
        return config.num_colors
    # Per component a weight, and per colour its mean and log scale; with three colours also
    # the coefficient that makes a colour depend on another.
    per_color = 3 if config.num_colors == 3 else 2
    return config.num_mixtures * (1 + config.num_colors * per_color)
