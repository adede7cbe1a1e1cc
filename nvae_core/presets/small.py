"""Small models for the CPU."""

from nvae_core.config import ModelConfig, OptimizationConfig
from nvae_core.presets.preset import Preset

MNIST_CPU = Preset(
    name="mnist-cpu",
    description="learns the bundled MNIST subset in minutes on two CPU cores",
    model=ModelConfig(
        image_size=28,
        image_padding=2,
        num_groups_per_scale=(2, 3),
        num_encoder_channels=8,
        num_decoder_channels=8,
        num_preprocess_blocks=2,
        num_preprocess_cells=1,
        num_postprocess_cells=1,
        num_encoder_cells_per_group=1,
        num_decoder_cells_per_group=1,
    ),
    optimization=OptimizationConfig(epochs=6, batch_size=16, learning_rate=0.02, warmup_epochs=0.5),
    num_ranks=2,
)
MNIST_TEST = Preset(
    name="mnist-test",
    description="trains in seconds, for tests of the path and not of the result",
    model=ModelConfig(
        image_size=28,
        image_padding=2,
        num_groups_per_scale=(1, 2),
        num_latents_per_group=4,
        num_encoder_channels=2,
        num_decoder_channels=2,
        num_preprocess_blocks=2,
        num_preprocess_cells=1,
        num_postprocess_cells=1,
        num_encoder_cells_per_group=1,
        num_decoder_cells_per_group=1,
    ),
    optimization=OptimizationConfig(epochs=1, batch_size=150, warmup_epochs=0.2),
    num_ranks=1,
)
