"""Named configurations: the MNIST column of Table 6, and small ones for CPU; free of torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from nvae_core.config import ModelConfig, OptimizationConfig


@dataclass(frozen=True)
class Preset:
    """A model, how it is trained, and one sentence that says what it is for."""

    name: str
    description: str
    model: ModelConfig
    optimization: OptimizationConfig


class UnknownPreset(ValueError):
    """No preset has this name."""


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="mnist",
            description="MNIST as in Table 6: 15 groups in two scales, for two 16 GB GPUs",
            model=ModelConfig(
                image_size=28,
                image_padding=2,
                num_groups_per_scale=(5, 10),
                num_encoder_channels=32,
                num_decoder_channels=32,
                num_preprocess_blocks=2,
                num_cells_per_block=3,
                num_cells_per_group=1,
            ),
            optimization=OptimizationConfig(epochs=400, batch_size=200),
        ),
        Preset(
            name="mnist-cpu",
            description="learns the bundled MNIST subset in minutes on two CPU cores",
            model=ModelConfig(
                image_size=28,
                image_padding=2,
                num_groups_per_scale=(2, 3),
                num_encoder_channels=8,
                num_decoder_channels=8,
                num_preprocess_blocks=2,
                num_cells_per_block=1,
                num_cells_per_group=1,
            ),
            optimization=OptimizationConfig(
                epochs=6, batch_size=16, learning_rate=0.02, warmup_epochs=0.5
            ),
        ),
        Preset(
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
                num_cells_per_block=1,
                num_cells_per_group=1,
            ),
            optimization=OptimizationConfig(epochs=1, batch_size=150, warmup_epochs=0.2),
        ),
    )
}


def find_preset(name: str) -> Preset:
    """Return the preset of this name.

    Raises:
        UnknownPreset: no preset has this name; the message lists those that exist.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise UnknownPreset(f"unknown preset {name!r}; there are {', '.join(PRESETS)}") from None


def apply_overrides(preset: Preset, overrides: Mapping[str, JsonValue]) -> Preset:
    """Return the preset with fields replaced by dotted name, such as `optimization.epochs`.

    Raises:
        pydantic.ValidationError: a value or the combination of values is not valid.
        ValueError: a name does not start with `model.` or `optimization.`.
    """
    parts: dict[str, dict[str, JsonValue]] = {
        "model": preset.model.model_dump(mode="json"),
        "optimization": preset.optimization.model_dump(mode="json"),
    }
    for name, value in overrides.items():
        part, _, field = name.partition(".")
        if part not in parts or not field:
            raise ValueError(f"{name!r} must be model.<field> or optimization.<field>")
        parts[part][field] = value
    return Preset(
        name=preset.name,
        description=preset.description,
        model=ModelConfig.model_validate(parts["model"]),
        optimization=OptimizationConfig.model_validate(parts["optimization"]),
    )
