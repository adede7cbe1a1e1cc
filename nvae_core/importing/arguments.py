"""The published code's command-line arguments, as our configuration."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from nvae_core.config import CellArchitecture, ModelConfig, OptimizationConfig
from nvae_core.training.schedules import CONSTANT_FRACTION

Count = Annotated[int, Field(ge=0, le=4096)]
GREY_DATASETS = frozenset({"mnist", "omniglot"})  # 28x28, padded to 32x32, Bernoulli pixels
GREY_PADDING = 2


class PublishedArguments(BaseModel):
    """The arguments that matter to us; defaults are those of files that are older than one."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    dataset: str
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    arch_instance: CellArchitecture
    num_latent_scales: Annotated[int, Field(ge=1, le=8)]
    num_groups_per_scale: Annotated[int, Field(ge=1, le=256)]
    ada_groups: bool = False
    min_groups_per_scale: Count = 1
    num_latent_per_group: Count
    num_channels_enc: Count
    num_channels_dec: Count
    num_preprocess_blocks: Annotated[int, Field(ge=0, le=6)]
    num_preprocess_cells: Count
    num_postprocess_blocks: Count
    num_postprocess_cells: Count
    num_cell_per_cond_enc: Count
    num_cell_per_cond_dec: Count
    num_nf: Count  # pairs of transforms
    num_x_bits: Count
    num_mixture_dec: Count = 10
    use_se: bool
    res_dist: bool
    epochs: int
    batch_size: int
    learning_rate: float
    learning_rate_min: float
    warmup_epochs: float
    weight_decay: float
    weight_decay_norm: float
    weight_decay_norm_init: float = 10.0
    weight_decay_norm_anneal: bool = False
    kl_anneal_portion: float
    kl_const_portion: float = CONSTANT_FRACTION
    kl_const_coeff: float

    @property
    def is_grey(self) -> bool:
        """Whether the images are those of Bernoulli pixels."""
        return self.dataset in GREY_DATASETS


def groups_per_scale(
    *, num_scales: int, num_groups: int, adaptive: bool, minimum: int
) -> tuple[int, ...]:
    """Return the number of groups of each scale, coarsest first.

    The finest has `num_groups`; each next coarser one half of that, rounded down but not below
    the minimum, if `adaptive`, else as many.
    """
    fine_to_coarse = [num_groups]
    for _ in range(num_scales - 1):
        halved = max(minimum, fine_to_coarse[-1] // 2)
        fine_to_coarse.append(halved if adaptive else num_groups)
    return tuple(reversed(fine_to_coarse))


def model_config(arguments: PublishedArguments, *, resolution: int) -> ModelConfig:
    """Return the configuration of a published model whose padded images have this size.

    Raises:
        ValueError: the combination is not valid, or not one that we compute.
    """
    if arguments.num_postprocess_blocks != arguments.num_preprocess_blocks:
        raise ValueError("num_postprocess_blocks differs from num_preprocess_blocks")
    if arguments.num_latent_scales == 1 and arguments.num_groups_per_scale == 1:
        raise ValueError("a single group, without towers, is not supported")
    if not arguments.is_grey and arguments.num_mixture_dec == 1:
        raise ValueError("num_mixture_dec is 1: normally distributed pixels are not supported")
    padding = GREY_PADDING if arguments.is_grey else 0
    settings: Mapping[str, object] = {
        "image_size": resolution - 2 * padding,
        "image_padding": padding,
        "num_groups_per_scale": groups_per_scale(
            num_scales=arguments.num_latent_scales,
            num_groups=arguments.num_groups_per_scale,
            adaptive=arguments.ada_groups,
            minimum=arguments.min_groups_per_scale,
        ),
        "num_latents_per_group": arguments.num_latent_per_group,
        "num_flow_transforms": 2 * arguments.num_nf,
        "num_encoder_channels": arguments.num_channels_enc,
        "num_decoder_channels": arguments.num_channels_dec,
        "num_preprocess_blocks": arguments.num_preprocess_blocks,
        "num_preprocess_cells": arguments.num_preprocess_cells,
        "num_postprocess_cells": arguments.num_postprocess_cells,
        "num_encoder_cells_per_group": arguments.num_cell_per_cond_enc,
        "num_decoder_cells_per_group": arguments.num_cell_per_cond_dec,
        "cell_architecture": arguments.arch_instance,
        "squeeze_excitation": arguments.use_se,
        "residual_posterior": arguments.res_dist,
    }
    if arguments.is_grey:
        return ModelConfig.model_validate({**settings, "image_distribution": "bernoulli"})
    return ModelConfig.model_validate(
        {
            **settings,
            "num_colors": 3,
            "bit_depth": arguments.num_x_bits,
            "image_distribution": "logistic_mixture",
            "num_mixtures": arguments.num_mixture_dec,
            "logistic_bins": "published",
        }
    )


def optimization_config(arguments: PublishedArguments) -> OptimizationConfig:
    """Return how the published command trained.

    Raises:
        ValueError: the combination is not valid.
    """
    if arguments.kl_const_portion != CONSTANT_FRACTION:
        raise ValueError(f"kl_const_portion is not {CONSTANT_FRACTION}: not supported")
    annealed = arguments.weight_decay_norm_anneal
    return OptimizationConfig(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        min_learning_rate=arguments.learning_rate_min,
        warmup_epochs=arguments.warmup_epochs,
        weight_decay=arguments.weight_decay,
        kl_warmup_fraction=arguments.kl_anneal_portion,
        min_kl_weight=arguments.kl_const_coeff,
        kl_balancing="divide",
        spectral_weight=arguments.weight_decay_norm,
        initial_spectral_weight=arguments.weight_decay_norm_init if annealed else None,
        horizontal_flip=not arguments.is_grey,
    )
