"""The six columns of Table 6 of the paper, and its footnote."""

from dataclasses import replace

from pydantic import JsonValue

from nvae_core.config import ModelConfig, OptimizationConfig
from nvae_core.presets.preset import Preset, apply_overrides


def _faces(name: str, description: str, optimization: OptimizationConfig) -> Preset:
    """Return a preset for 256x256 faces; initial channels as in Table 6."""
    model = ModelConfig(
        image_size=256,
        num_colors=3,
        bit_depth=5,
        image_distribution="logistic_mixture",
        num_groups_per_scale=(4, 4, 4, 8, 16),
        num_flow_transforms=4,
        num_encoder_channels=30,
        num_decoder_channels=30,
    )
    return Preset(name, description, model, optimization, num_ranks=24)


def _small_faces(preset: Preset) -> Preset:
    """Return the footnote of Table 6: 24 initial channels and batch 6 on 8 GPUs."""
    changes: dict[str, JsonValue] = {
        "model.num_encoder_channels": 24,
        "model.num_decoder_channels": 24,
        "optimization.batch_size": 6,
    }
    changed = apply_overrides(preset, changes)
    return replace(
        changed,
        name=f"{preset.name}-small",
        description=f"{preset.name} with 24 channels, as in the footnote of Table 6",
        num_ranks=8,
    )


MNIST = Preset(
    name="mnist",
    description="MNIST as in Table 6; the paper reports 78.01 nats",
    model=ModelConfig(
        image_size=28,
        image_padding=2,
        num_groups_per_scale=(5, 10),
        num_encoder_channels=32,
        num_decoder_channels=32,
        num_preprocess_blocks=2,
        num_preprocess_cells=3,
        num_postprocess_cells=3,
        num_encoder_cells_per_group=1,
        num_decoder_cells_per_group=1,
    ),
    optimization=OptimizationConfig(epochs=400, batch_size=200),
    num_ranks=2,
)
CIFAR10 = Preset(
    name="cifar10",
    description="CIFAR-10 as in Table 6; the paper reports 2.91 bits per dimension",
    model=ModelConfig(
        image_size=32,
        num_colors=3,
        image_distribution="logistic_mixture",
        num_groups_per_scale=(30,),
        num_flow_transforms=2,
        num_encoder_channels=128,
        num_decoder_channels=128,
    ),
    optimization=OptimizationConfig(
        epochs=400, batch_size=32, spectral_weight=0.1, horizontal_flip=True
    ),
    num_ranks=8,
)
IMAGENET32 = Preset(
    name="imagenet32",
    description="ImageNet 32x32 as in Table 6; the paper reports 3.92 bits per dimension",
    model=ModelConfig(
        image_size=32,
        num_colors=3,
        image_distribution="logistic_mixture",
        num_groups_per_scale=(28,),
        num_flow_transforms=2,
        num_encoder_channels=192,
        num_decoder_channels=192,
    ),
    optimization=OptimizationConfig(
        epochs=45, batch_size=24, warmup_epochs=1, horizontal_flip=True
    ),
    num_ranks=24,
)
CELEBA64 = Preset(
    name="celeba64",
    description="CelebA 64x64 as in Table 6; the paper reports 2.03 bits per dimension",
    model=ModelConfig(
        image_size=64,
        num_colors=3,
        image_distribution="logistic_mixture",
        num_groups_per_scale=(5, 10, 20),
        num_flow_transforms=2,
        num_encoder_channels=64,
        num_decoder_channels=64,
    ),
    optimization=OptimizationConfig(
        epochs=90, batch_size=16, spectral_weight=0.1, horizontal_flip=True
    ),
    num_ranks=8,
)
CELEBA_HQ_256 = _faces(
    "celeba_hq_256",
    "CelebA-HQ 256x256 at 5 bits as in Table 6; the paper reports 0.70 bits per dimension",
    OptimizationConfig(
        epochs=300,
        batch_size=4,
        spectral_weight=0.01,
        initial_spectral_weight=10,
        horizontal_flip=True,
    ),
)
FFHQ_256 = _faces(
    "ffhq_256",
    "FFHQ 256x256 at 5 bits as in Table 6; the paper reports 0.69 bits per dimension",
    OptimizationConfig(
        epochs=200,
        batch_size=4,
        learning_rate=0.008,
        spectral_weight=0.1,
        initial_spectral_weight=10,
        horizontal_flip=True,
    ),
)
CELEBA_HQ_256_SMALL = _small_faces(CELEBA_HQ_256)
FFHQ_256_SMALL = _small_faces(FFHQ_256)
