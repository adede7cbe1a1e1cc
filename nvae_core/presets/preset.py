"""What a preset is, and how its fields are replaced."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from nvae_core.config import ModelConfig, OptimizationConfig


@dataclass(frozen=True)
class Preset:
    """A model, how it is trained, and one sentence that says what it is for."""

    name: str
    description: str
    model: ModelConfig
    optimization: OptimizationConfig
    num_ranks: int  # that the learning rate and the batch size are meant for


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
    return replace(
        preset,
        model=ModelConfig.model_validate(parts["model"]),
        optimization=OptimizationConfig.model_validate(parts["optimization"]),
    )
