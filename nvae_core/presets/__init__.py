"""Named configurations: Table 6 of the paper, its released variants, and small ones for CPU."""

from collections.abc import Mapping

from nvae_core.presets import released, small, table_6
from nvae_core.presets.preset import Preset, apply_overrides

__all__ = ["PRESETS", "Preset", "UnknownPreset", "apply_overrides", "find_preset"]

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        table_6.MNIST,
        table_6.CIFAR10,
        table_6.IMAGENET32,
        table_6.CELEBA64,
        table_6.CELEBA_HQ_256,
        table_6.FFHQ_256,
        released.MNIST,
        released.CIFAR10,
        released.IMAGENET32,
        released.CELEBA64,
        released.CELEBA_HQ_256,
        released.FFHQ_256,
        table_6.CELEBA_HQ_256_SMALL,
        table_6.FFHQ_256_SMALL,
        small.MNIST_CPU,
        small.MNIST_TEST,
    )
}


class UnknownPreset(ValueError):
    """No preset has this name."""


def find_preset(name: str) -> Preset:
    """Return the preset of this name.

    Raises:
        UnknownPreset: no preset has this name; the message lists those that exist.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise UnknownPreset(f"unknown preset {name!r}; there are {', '.join(PRESETS)}") from None
