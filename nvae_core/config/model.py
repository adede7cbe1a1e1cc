"""The shape of one NVAE."""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from nvae_core.config.base import Config

Depth = Annotated[StrictInt, Field(ge=1, le=256)]  # far above every model of the paper
Width = Annotated[StrictInt, Field(ge=1, le=4096)]
CellArchitecture = Literal[
    "res_mbconv",
    "res_bnswish",
    "res_bnelu",
    "res_elu",
    "mbconv_res",
    "mbconv_sep",
    "mbconv_sep11",
    "mbconv_den",
    "res53_mbconv",
    "res35_mbconv",
    "res55_mbconv",
]


class ModelConfig(Config):
    """Shape of one NVAE. Lists over scales run from the coarsest to the finest, as in Table 6.

    A single group in a single scale is an ordinary VAE: it has no towers.
    """

    image_size: Annotated[StrictInt, Field(ge=1, le=1024)]
    image_padding: Annotated[StrictInt, Field(ge=0, le=64)] = 0  # zero pixels added on every side
    num_colors: Literal[1, 3] = 1
    bit_depth: Annotated[StrictInt, Field(ge=1, le=8)] = 8  # images have 2^bit_depth levels
    image_distribution: Literal["bernoulli", "logistic_mixture"] = "bernoulli"
    num_mixtures: Annotated[StrictInt, Field(ge=1, le=100)] = 10  # of the logistic_mixture
    # `published` is the rule of the published code, whose probabilities sum to more than 1.
    logistic_bins: Literal["exact", "published"] = "exact"
    num_groups_per_scale: Annotated[tuple[Depth, ...], Field(min_length=1, max_length=8)]
    num_latents_per_group: Width = 20
    num_flow_transforms: Annotated[StrictInt, Field(ge=0, le=16, multiple_of=2)] = 0  # per group
    num_encoder_channels: Width = 32
    num_decoder_channels: Width = 32
    num_preprocess_blocks: Annotated[StrictInt, Field(ge=0, le=6)] = 1  # each halves the resolution
    num_preprocess_cells: Depth = 2  # per block
    num_postprocess_cells: Depth = 2  # per block
    num_encoder_cells_per_group: Depth = 2
    num_decoder_cells_per_group: Depth = 2
    cell_architecture: CellArchitecture = "res_mbconv"
    squeeze_excitation: StrictBool = True
    residual_posterior: StrictBool = True

    @property
    def resolution(self) -> int:
        """Height and width the network sees: the image with its padding."""
        return self.image_size + 2 * self.image_padding

    @property
    def num_dimensions(self) -> int:
        """Number of values in one image, which bits per dimension are counted by."""
        return self.num_colors * self.image_size**2

    @model_validator(mode="after")
    def _check(self) -> Self:
        num_halvings = self.num_preprocess_blocks + len(self.num_groups_per_scale) - 1
        if self.resolution % 2**num_halvings:
            raise ValueError(
                f"image_size plus padding is {self.resolution}, which cannot be halved "
                f"{num_halvings} times (num_preprocess_blocks + scales - 1)"
            )
        if num_halvings > 0 and self.num_encoder_channels < 2:
            raise ValueError("num_encoder_channels must be at least 2 where the image is halved")
        widths = (self.num_encoder_channels, self.num_decoder_channels)
        if self.cell_architecture == "mbconv_den" and any(width % 8 for width in widths):
            raise ValueError("the mbconv_den cell_architecture needs channels divisible by 8")
        if self.image_distribution == "bernoulli" and self.num_colors != 1:
            raise ValueError("the bernoulli image_distribution needs num_colors = 1")
        if self.image_distribution == "bernoulli" and self.bit_depth != 8:
            raise ValueError("bit_depth is of the logistic_mixture image_distribution")
        return self
