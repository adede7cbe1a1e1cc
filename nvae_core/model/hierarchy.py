"""Arithmetic of the latent hierarchy: where each group sits, its width and its resolution."""

from dataclasses import dataclass

from nvae_core.config import ModelConfig


@dataclass(frozen=True)
class LatentGroup:
    """One group of latent variables; groups are numbered from the top, which is the coarsest."""

    index: int
    scale: int  # 0 is the coarsest
    position: int  # within its scale
    num_groups_in_scale: int
    halvings: int  # of the padded image until this scale
    resolution: int  # height and width of its latents

    @property
    def width_multiplier(self) -> int:
        """Channels at this scale over initial channels: they double with each halving."""
        return int(2**self.halvings)

    @property
    def starts_finer_scale(self) -> bool:
        """Whether the decoder doubles the resolution just before this group."""
        return self.position == 0 and self.index > 0


def latent_groups(config: ModelConfig) -> tuple[LatentGroup, ...]:
    """Return the groups from the top down."""
    num_scales = len(config.num_groups_per_scale)
    groups: list[LatentGroup] = []
    for scale, num_groups in enumerate(config.num_groups_per_scale):
        halvings = config.num_preprocess_blocks + num_scales - 1 - scale
        for position in range(num_groups):
            groups.append(
                LatentGroup(
                    index=len(groups),
                    scale=scale,
                    position=position,
                    num_groups_in_scale=num_groups,
                    halvings=halvings,
                    resolution=config.resolution >> halvings,
                )
            )
    return tuple(groups)


def latent_shape(group: LatentGroup, config: ModelConfig) -> tuple[int, int, int]:
    """Return the shape of one image's latents in this group: channels, height, width."""
    return (config.num_latents_per_group, group.resolution, group.resolution)
